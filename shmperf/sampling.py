"""
What the operating system says of the workers: resident memory, CPU and threads, now and then.

For `shmperf status`; nothing of it enters the history.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

__all__ = ["Sampler"]


class Sampler:
    """Keeps the last sample of every worker; the collector's thread."""

    def __init__(self, interval_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._due_s = 0.0
        self._processes: dict[int, psutil.Process] = {}
        self._rows: dict[int, dict[str, Any]] = {}

    def look(self, pids: Callable[[], list[int]]) -> None:
        """Sample the processes of *pids*, when the interval has passed."""
        now = self._clock()
        if now < self._due_s:
            return
        self._due_s = now + self._interval_s
        present = pids()
        self._rows = {pid: row for pid in present if (row := self._sample(pid)) is not None}
        self._processes = {pid: p for pid, p in self._processes.items() if pid in self._rows}

    def rows(self, pids: list[int]) -> list[dict[str, Any]]:
        """The last sample of each of *pids*, nulls where there is none yet."""
        empty = {"memory_bytes": None, "cpu_percent": None, "threads": None}
        return [{"pid": pid, **self._rows.get(pid, empty)} for pid in pids]

    def _sample(self, pid: int) -> dict[str, Any] | None:
        try:
            process = self._processes.get(pid)
            if process is None:
                process = self._processes[pid] = psutil.Process(pid)
            with process.oneshot():
                return {
                    "memory_bytes": process.memory_info().rss,
                    "cpu_percent": process.cpu_percent(),
                    "threads": process.num_threads(),
                }
        except psutil.Error:
            return None
