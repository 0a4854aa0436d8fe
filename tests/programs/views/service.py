"""
A service to look at: each line of its input is a number of rounds of calls, or of tools to call.

    answer N    N times: search, which calls rank (slow) and fetch; every third answer fails
    many N      N tools, once each
    odd         a tool whose name is markup, and one whose name is very long

A line ``done`` follows each. A delivery is in flight from the beginning to the end of its input.
"""

import sys
import threading

import shmperf

MARKUP = "<script>alert(1)</script>"
LONG = "long_" + "n" * 9_995

closed = threading.Event()
pause = threading.Event()


@shmperf.track
def deliver(item, to):
    closed.wait()


@shmperf.track
def rank(found):
    pause.wait(0.02)
    return sorted(found)


@shmperf.track
def fetch(name):
    return name.upper()


@shmperf.track
def search(query):
    return rank([fetch(f"{query}-{number}") for number in range(3)])


@shmperf.track
def answer(number):
    found = search(f"q{number}")
    if number % 3 == 2:
        raise ValueError(f"no answer to {number}")
    return found


def call(names):
    for name in names:
        with shmperf.call(name, n=1):
            pass


def answers(count):
    for number in range(count):
        try:
            answer(number)
        except ValueError:
            pass


delivery = threading.Thread(target=deliver, args=("parcel-4711", "nobody"))
delivery.start()
for line in sys.stdin:
    what, count = line.split()
    if what == "answer":
        answers(int(count))
    elif what == "many":
        call(f"tool_{number:05}" for number in range(int(count)))
        # Their files are made before anything is asked of them: on a busy disk that takes a while.
        while not shmperf.flush():
            pass
    elif what == "odd":
        call([MARKUP, LONG] * int(count))
    print("done", flush=True)
closed.set()
delivery.join()
