"""The thread that looks: a collector that is slow to answer leaves the screen alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from shmperf.query.look import Look, Watch

__all__ = ["Looking"]


class Looking:
    """Looks every so many seconds, in a thread of its own, and hands each look over."""

    def __init__(self, watch: Watch, interval_s: float, show: Callable[[Look], None]) -> None:
        """*show* is called in this thread."""
        self.watch = watch
        self.interval_s = interval_s
        self._show = show
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._asked_at: float | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def waits_s(self) -> float:
        """How long the look has taken that is going on; 0.0 for none."""
        asked_at = self._asked_at
        return 0.0 if asked_at is None else time.monotonic() - asked_at

    def start(self) -> None:
        """Begin; the first look is at once."""
        self._thread.start()

    def look_now(self) -> None:
        """Somebody wants to see what they have just changed."""
        self._wanted.set()

    def end(self) -> None:
        """No more looks; the thread ends with the one that is going on."""
        self._ended.set()
        self._wanted.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            begun = self._asked_at = time.monotonic()
            look = self.watch.look()
            self._asked_at = None
            if self._ended.is_set():
                return
            self._show(look)
            self._wanted.wait(max(0.05, self.interval_s - (time.monotonic() - begun)))
            self._wanted.clear()
