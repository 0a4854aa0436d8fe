"""Work that one thread at a time does: what handlers raise in it passes, and leaves it usable."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import pytest

from shmperf.worker.guard import Guard


class Alarm(Exception):
    """What a program's own time limit raises."""


def test_handler_that_raises_while_it_waits_passes() -> None:
    """The lock that was not taken is not released, and whoever comes next gets it."""
    guard = Guard()

    def raise_alarm(_number: int, _frame: FrameType | None) -> None:
        raise Alarm

    before = signal.signal(signal.SIGALRM, raise_alarm)
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        guard.run(lambda: (taken.set(), done.wait()), lambda: (None, False))

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        taken.wait()
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        with pytest.raises(Alarm):
            guard.run(lambda: "done", lambda: "refused")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        done.set()
        holder.join()
    assert guard.run(lambda: "done", lambda: "refused") == "done"


def test_whoever_is_in_its_middle_is_refused() -> None:
    """A handler's or finaliser's own work does not wait for itself."""
    guard = Guard()
    assert guard.run(lambda: guard.run(lambda: "done", lambda: "refused"), lambda: "") == "refused"
    assert guard.run(lambda: "done", lambda: "refused") == "done"


def test_what_raises_leaves_it_free() -> None:
    """A failure in the work is the caller's, and the next work is done."""
    guard = Guard()
    with pytest.raises(ZeroDivisionError):
        guard.run(lambda: 1 // 0, lambda: 0)
    assert guard.run(lambda: 1, lambda: 0) == 1


def test_fork_in_the_middle_forgets_who_held_it() -> None:
    """In a child the lock is new, and what is released is the old one."""
    guard = Guard()

    def fork() -> bool:
        # What the child's hook does, also when a signal handler has forked here.
        guard.forget()
        return True

    assert guard.run(fork, lambda: False)
    assert guard.run(lambda: "done", lambda: "refused") == "done"
