"""Dask: tasks in the workers of a real local cluster."""

from __future__ import annotations

import pytest

from tests.support import Place, needs, program_text

from .frameworks import calls, counts, edges, only, run

needs("distributed")

COUNTS = {"agent": (1, 0), "forecast": (3, 0), "locate": (3, 0), "broken": (1, 1), "late": (1, 1)}
EDGES = {
    (None, "agent", 1),
    ("agent", "forecast", 3),
    ("forecast", "locate", 3),
    ("agent", "broken", 1),
    ("agent", "late", 1),
}


@pytest.fixture(autouse=True)
def tasks(place: Place) -> None:
    """The tasks as a module, which programs and workers import."""
    place.write("tasks.py", program_text("frameworks/dask_tasks"))


@pytest.mark.parametrize("where", ["processes", "threads"])
def test_tasks_have_names_parents_and_outcomes(place: Place, where: str) -> None:
    """A task is a call in its worker, beneath who submitted it, in processes and threads."""
    run(place, "frameworks/dask", "tasks_of_cluster", where, optimize=True)
    assert counts(place) == COUNTS
    assert edges(place) == EDGES
    assert only(place, "broken")["err"] == "ValueError"
    assert only(place, "late")["status"] == "timeout"
    assert sorted(one["params"]["city"] for one in calls(place, "forecast")) == ["A", "B", "C"]
    metadata = only(place, "broken")["metadata"]
    assert metadata["source"] == "dask"
    assert metadata["call_id"].startswith("broken-")
    is_in_client = only(place, "broken")["pid"] == only(place, "agent")["pid"]
    assert is_in_client == (where == "threads")


def test_an_asynchronous_client(place: Place) -> None:
    """A client in an event loop registers the plugin too, and its tasks have parents."""
    run(place, "frameworks/dask", "asynchronous_client")
    assert edges(place) == {(None, "agent", 1), ("agent", "forecast", 1), ("forecast", "locate", 1)}


def test_a_tracked_function_of_the_program_itself_is_sent(place: Place) -> None:
    """A function that workers can't import arrives tracked, under its name."""
    run(place, "frameworks/dask", "function_of_program_sent")
    assert edges(place) == {(None, "forecast", 1), ("forecast", "where", 1)}
    assert only(place, "where")["p"] == {"city": "A"}


def test_the_plugin_by_hand_and_uninstrument(place: Place) -> None:
    """A registered plugin records alone; `uninstrument` restores the client and the workers."""
    run(place, "frameworks/dask", "plugin_by_hand_and_uninstrument")
    assert counts(place) == {"forecast": (1, 0), "locate": (1, 0), "broken": (1, 1)}
    assert only(place, "broken")["p"] == {"city": "C"}
