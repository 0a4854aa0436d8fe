"""Two processes: one hangs in a tool below another with its item, one goes on until it is told."""

import multiprocessing
import os
import sys
import threading

import shmperf

ODD = "[bold]odd[/]\x1b[31m" + "x" * 10_000


@shmperf.track
def fetch(item: int) -> None:
    if item == 17:
        threading.Event().wait()


@shmperf.track
def handle(item: int) -> None:
    fetch(item)


@shmperf.track
def slow_part(item: int) -> None:
    threading.Event().wait(0.02)


@shmperf.track
def serve(item: int) -> None:
    slow_part(item)
    try:
        fails(item)
    except ValueError:
        pass


@shmperf.track
def fails(item: int) -> None:
    if item % 3 == 0:
        raise ValueError(f"item {item} is odd")


def goes_on(ended: object) -> None:
    item = 0
    while not ended.is_set():
        serve(item)
        with shmperf.call(ODD):
            item += 1


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    ended = context.Event()
    hangs = context.Process(target=handle, args=(17,), daemon=True)
    works = context.Process(target=goes_on, args=(ended,))
    hangs.start()
    works.start()
    print(os.getpid(), hangs.pid, works.pid, flush=True)
    sys.stdin.readline()
    ended.set()
    works.join()
    hangs.kill()
    hangs.join()
