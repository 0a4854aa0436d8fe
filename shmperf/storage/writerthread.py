"""
A thread that does one piece of work after the other, and how long its one user waits for it.

As long as there is progress; a second without any at most. When work fails or does not come back,
the thread counts as unavailable: further work is refused at once, until what is stuck has come
back or a pause is over. The pause doubles up to a minute, and the first success ends it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from shmperf.errors import ShmperfError, StoreError

from .pace import Pace

__all__ = ["LONGEST_WAIT_S", "WriterThread"]

T = TypeVar("T")

LONGEST_WAIT_S = 1.0
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0


class WriterThread:
    """
    The thread that touches the disk, as the collector's thread sees it.

    ``reason`` is why it is unavailable, or was until work is done again; empty otherwise.
    """

    def __init__(
        self,
        pace: Pace,
        clock: Callable[[], float],
        longest_wait_s: float,
        failed: Callable[[], None],
    ) -> None:
        """*pace* beats as its work goes on; *failed* is called when a piece of it has not ended."""
        self.reason = ""
        self.longest_wait_s = longest_wait_s
        self._pace = pace
        self._clock = clock
        self._failed = failed
        self._pause_s = _FIRST_PAUSE_S
        self._retry_at_s = 0.0
        self._work: queue.SimpleQueue[tuple[Callable[[], Any], _Answer] | None]
        self._work = queue.SimpleQueue()
        self._stuck: _Answer | None = None
        self._thread = threading.Thread(target=self._run, name="shmperf-disk", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[], T], wait_s: float | None = None) -> T | None:
        """What *work* returns; None when it is refused, fails, or is stuck for *wait_s*."""
        if self.is_unavailable():
            return None
        answer = _Answer()
        self._work.put((work, answer))
        if not self._comes_back(answer, self.longest_wait_s if wait_s is None else wait_s):
            self._stuck = answer
            self._fail("a write did not come back")
            return None
        if answer.error is not None:
            self._fail(str(answer.error))
            return None
        self.reason, self._pause_s = "", _FIRST_PAUSE_S
        result: T = answer.value
        return result

    def later(self, work: Callable[[], object]) -> None:
        """Have *work* done behind all else, whatever comes of it; nobody waits for it."""
        self._work.put((work, _Answer()))

    def is_unavailable(self) -> bool:
        """True while work is stuck, or the pause after a failure is not over."""
        if self._stuck is not None:
            if not self._stuck.ready.is_set():
                return True
            self._stuck = None
            self._retry_at_s = 0.0
        return bool(self.reason) and self._clock() < self._retry_at_s

    def wait_for_return(self, longest_s: float) -> None:
        """Wait for work that is stuck, bounded; then the next is tried without a pause."""
        if self._stuck is not None:
            self._stuck.ready.wait(longest_s)
        self._retry_at_s = 0.0

    def end(self) -> bool:
        """End the thread once it has done its work; False when it is stuck and left behind."""
        self._work.put(None)
        if self._stuck is not None:
            return False
        self._thread.join(self.longest_wait_s)
        return not self._thread.is_alive()

    def _comes_back(self, answer: _Answer, wait_s: float) -> bool:
        """Wait for *answer*; False when there is no progress for *wait_s*."""
        beats = -1
        while beats != self._pace.beats:
            beats = self._pace.beats
            if answer.ready.wait(wait_s):
                return True
        return False

    def _fail(self, reason: str) -> None:
        self.reason = reason
        self._failed()
        self._retry_at_s = self._clock() + self._pause_s
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, answer = item
            try:
                answer.value = work()  # point: disk-work
            except (StoreError, OSError, ShmperfError) as error:
                answer.error = error
            except Exception as error:  # noqa: BLE001  a fault of ours must not end the thread
                answer.error = error
            answer.ready.set()  # point: disk-done


class _Answer:
    """Where a piece of work leaves its result."""

    __slots__ = ("error", "ready", "value")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.value: Any = None
        self.error: Exception | None = None
