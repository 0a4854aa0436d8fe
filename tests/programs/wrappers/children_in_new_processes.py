import multiprocessing
import os

import shmperf


@shmperf.track
def child():
    pass


@shmperf.track
def waits_for_fork():
    pid = os.fork()
    if pid == 0:
        child()
        os._exit(0)
    os.waitpid(pid, 0)


@shmperf.track
def waits_for_process(spawning):
    process = spawning.Process(target=shmperf.propagate(child))
    process.start()
    process.join()


if __name__ == "__main__":
    shmperf.set_optimization_mode(True)
    for _ in range(150):
        waits_for_fork()
    for _ in range(5):
        waits_for_process(multiprocessing.get_context("spawn"))
    assert shmperf.flush(60)
