"""Tools that are given, and fail with, what nobody else is to read, as long as there is input."""

import sys
import threading
import time

import shmperf

MARK = "mark of chapter"


@shmperf.track
def read_chapter(title):
    time.sleep(0.002)
    if title.endswith("7"):
        raise ValueError(f"{title} is missing")


@shmperf.track
def read_book(title):
    for number in range(10):
        try:
            read_chapter(f"{MARK} {number}")
        except ValueError as error:
            shmperf.annotate(told=str(error))


closed = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), closed.set())).start()
while not closed.is_set():
    read_book(MARK)
