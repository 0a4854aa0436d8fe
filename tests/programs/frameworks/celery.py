import os
import subprocess
import sys
from pathlib import Path

import tasks
from celery import signals

import shmperf

WORKER = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", "2"]
WORKER += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
LOG = Path("worker.log")


def results(pool, *sent):
    with LOG.open("w") as log:
        worker = subprocess.Popen([*WORKER, "--pool", pool], stdout=log, stderr=log)
    try:
        limit_s = float(os.environ["TESTS_DEADLINE_S"])
        return [one.get(timeout=limit_s, propagate=False) for one in sent]
    except Exception:
        sys.stderr.write(LOG.read_text())
        raise
    finally:
        worker.terminate()
        worker.wait()


class Both:
    def __init__(self, sent):
        self.sent = sent

    def get(self, **options):
        return tasks.app.AsyncResult(self.sent.get(**options)).get(**options)


def tasks_of_worker(pool):
    with shmperf.call("agent"):
        sent = [
            tasks.forecast.delay("A", days=2),
            tasks.forecast.delay("B"),
            tasks.broken.delay("C"),
            tasks.late.delay("D"),
            tasks.unsure.delay("E"),
        ]
        print(results(pool, *sent))


def task_sends_task():
    print(results("prefork", Both(tasks.plan.delay("A"))))


def traces():
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    sent = [
        tasks.forecast.apply_async(("A",), headers={"traceparent": trace}),
        tasks.forecast.apply_async(("B",), headers={"traceparent": "nonsense"}),
        tasks.forecast.delay("C"),
        tasks.unsure.apply_async(("D",), headers={"traceparent": trace}),
        tasks.tells.apply_async(headers={"traceparent": trace}),
    ]
    with shmperf.call("agent"):
        sent.append(tasks.tells.delay())
        expected = shmperf.traceparent()
    assert results("prefork", *sent)[-2:] == [trace, expected]


def uninstrument_disconnects():
    tasks.app.conf.task_always_eager = True
    watched = [signals.before_task_publish, signals.task_prerun, signals.task_postrun]
    assert all(signal.receivers for signal in watched)
    tasks.broken.delay("A")
    shmperf.uninstrument("celery")
    assert not any(signal.receivers for signal in watched)
    tasks.broken.delay("B")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
