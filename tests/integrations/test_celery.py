"""Celery: tasks in a real worker, over a broker of files."""

from __future__ import annotations

import pytest

from tests.support import Place, needs, program_text

from .frameworks import calls, counts, edges, only, run

needs("celery", 5)


@pytest.fixture(autouse=True)
def tasks(place: Place) -> None:
    """The tasks as a module, which programs and workers import."""
    place.write("tasks.py", program_text("frameworks/celery_tasks"))


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_workers_tasks_have_names_parents_and_outcomes(place: Place, pool: str) -> None:
    """Tasks are calls in the worker, beneath who sent them; a retry keeps its parent."""
    run(place, "frameworks/celery", "tasks_of_worker", pool, optimize=True)
    assert counts(place) == {
        "agent": (1, 0),
        "forecast": (2, 0),
        "locate": (2, 0),
        "broken": (1, 1),
        "late": (1, 1),
        "unsure": (2, 1),
    }
    assert edges(place) == {
        (None, "agent", 1),
        ("agent", "forecast", 2),
        ("forecast", "locate", 2),
        ("agent", "broken", 1),
        ("agent", "late", 1),
        ("agent", "unsure", 2),
    }
    first, second = sorted(calls(place, "unsure"), key=lambda one: one["start"])
    assert (first["err"], first["metadata"]["outcome"]) == ("Retry", "retry")
    assert second["metadata"]["retries"] == 1
    assert first["metadata"]["call_id"] == second["metadata"]["call_id"]
    assert only(place, "broken")["err"] == "ValueError"
    assert only(place, "late")["status"] == "timeout"
    params = [one["params"] for one in calls(place, "forecast")]
    assert {"city": "A", "days": 2} in params
    assert {"city": "B"} in params
    assert only(place, "agent")["pid"] not in {one["pid"] for one in calls(place, "forecast")}


def test_a_task_that_sends_a_task_is_its_parent(place: Place) -> None:
    """The parent is carried from worker to worker, also when it has ended before."""
    run(place, "frameworks/celery", "task_sends_task")
    plan, forecast, locate = (only(place, tool) for tool in ("plan", "forecast", "locate"))
    assert (forecast["parent"], locate["parent"]) == (plan["id"], forecast["id"])
    assert "parent" not in plan


def test_tasks_are_in_the_trace_of_a_sender_elsewhere(place: Place) -> None:
    """By the header ``traceparent``, also a retry; one task's trace is not the next one's."""
    run(place, "frameworks/celery", "traces")
    remote = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
    found = {one["p"]["city"]: one.get("remote") for one in calls(place, "forecast")}
    assert found == {"A": remote, "B": None, "C": None}
    assert [one.get("remote") for one in calls(place, "unsure")] == [remote, remote]
    (agent,) = calls(place, "agent")
    told = {one.get("parent"): one.get("remote") for one in calls(place, "tells")}
    assert told == {None: remote, agent["id"]: None}
    assert counts(place)["unsure"] == (2, 1)


def test_uninstrument_disconnects(place: Place) -> None:
    """The signals have the receivers that they had before."""
    run(place, "frameworks/celery", "uninstrument_disconnects")
    assert counts(place) == {"broken": (1, 1)}
