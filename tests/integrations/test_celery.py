"""Celery: tasks in a real worker, over a broker of files."""

from __future__ import annotations

import pytest

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("celery", 5)

TASKS = """
    import json, os, shmperf, time, uuid
    from pathlib import Path
    from celery import Celery
    from celery.backends.filesystem import FilesystemBackend
    from celery.exceptions import SoftTimeLimitExceeded
    from kombu.transport.filesystem import Channel

    # Both write their files in place, and others read them half written: here they appear whole.
    def put_whole(path, data):
        path = os.fsdecode(path)
        part = f"{path}.part"
        Path(part).write_bytes(data)
        os.replace(part, path)

    def put(self, queue, payload, **kwargs):
        name = f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
        put_whole(os.path.join(self.data_folder_out, name), json.dumps(payload).encode())

    def set_result(self, key, value):
        put_whole(self._filename(key), value if isinstance(value, bytes) else value.encode())

    Channel._put = put
    FilesystemBackend.set = set_result

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
        return forecast.delay(city).id

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
        log = open("worker.log", "w")
        worker = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--pool", pool,
             "-c", "2", "--without-gossip", "--without-mingle", "--without-heartbeat"],
            stdout=log, stderr=log,
        )
        try:
            limit_s = float(os.environ["TESTS_DEADLINE_S"])
            return [one.get(timeout=limit_s, propagate=False) for one in sent]
        except Exception:
            sys.stderr.write(open("worker.log").read())
            raise
        finally:
            worker.terminate()
            worker.wait()
            log.close()
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
        class Both:
            def __init__(self, sent):
                self.sent = sent

            def get(self, **options):
                return tasks.app.AsyncResult(self.sent.get(**options)).get(**options)

        print(results(Both(tasks.plan.delay("A"))))
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
