"""Celery: tasks in a real worker, over a broker of files."""

from __future__ import annotations

import pytest

from .frameworks import calls, counts, edges, only, requires, run
from .support import Place

requires("celery", 5)

TASKS = """
    import shmperf
    from pathlib import Path
    from celery import Celery
    from celery.exceptions import SoftTimeLimitExceeded

    Path("queue").mkdir(exist_ok=True)
    Path("results").mkdir(exist_ok=True)
    app = Celery("tasks", broker="filesystem://", backend="file://results")
    app.conf.broker_transport_options = {
        "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "queue",
    }
    app.conf.worker_hijack_root_logger = False
    shmperf.instrument("celery")

    @shmperf.track
    def locate(city):
        return city.lower()

    @app.task
    @shmperf.track
    def forecast(city, days=1):
        return "rain in " + locate(city)

    @app.task
    def plan(city):
        forecast.delay(city)

    @app.task
    def broken(city):
        raise ValueError("no such city")

    @app.task
    def late(city):
        raise SoftTimeLimitExceeded()

    @app.task(bind=True, max_retries=1)
    def unsure(self, city):
        if not self.request.retries:
            raise self.retry(countdown=0)
        return city
"""

WORKER = """
    import os, subprocess, sys, shmperf, tasks

    def results(*sent):
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", pool,
             "-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            return [one.get(timeout=60, propagate=False) for one in sent]
        finally:
            worker.terminate()
            worker.wait()
"""


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_workers_tasks_have_names_parents_and_outcomes(place: Place, pool: str) -> None:
    """Tasks are calls in the worker, beneath who sent them; a retry keeps its parent."""
    place.write("tasks.py", TASKS)
    run(
        place,
        f"pool = {pool!r}",
        WORKER,
        """
        with shmperf.call("agent"):
            sent = [
                tasks.forecast.delay("A", days=2),
                tasks.forecast.delay("B"),
                tasks.broken.delay("C"),
                tasks.late.delay("D"),
                tasks.unsure.delay("E"),
            ]
            print(results(*sent))
        """,
        optimize=True,
    )
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
    place.write("tasks.py", TASKS)
    run(
        place,
        'pool = "prefork"',
        WORKER,
        """
        import json, pathlib, threading, time

        def done():
            found = [json.loads(one.read_text()) for one in pathlib.Path("results").glob("c*")]
            return sum(one["status"] == "SUCCESS" for one in found) == 2

        class Both:
            def get(self, **options):
                deadline = time.monotonic() + 60
                while not done():
                    assert time.monotonic() < deadline
                    threading.Event().wait(0.02)

        tasks.plan.delay("A")
        results(Both())
        """,
    )
    plan, forecast, locate = (only(place, tool) for tool in ("plan", "forecast", "locate"))
    assert (forecast["parent"], locate["parent"]) == (plan["id"], forecast["id"])
    assert "parent" not in plan


def test_uninstrument_disconnects(place: Place) -> None:
    """The signals have the receivers that they had before."""
    place.write("tasks.py", TASKS)
    run(
        place,
        """
        import shmperf, tasks
        from celery import signals
        tasks.app.conf.task_always_eager = True
        watched = [signals.before_task_publish, signals.task_prerun, signals.task_postrun]
        assert all(signal.receivers for signal in watched)
        tasks.broken.delay("A")
        shmperf.uninstrument("celery")
        assert not any(signal.receivers for signal in watched)
        tasks.broken.delay("B")
        """,
    )
    assert counts(place) == {"broken": (1, 1)}
