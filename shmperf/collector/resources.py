"""
What the operating system says of the workers: resident memory, CPU and threads, now and then.

For `shmperf status`, and for who watches whether they grow; nothing of it enters the history. One
line of ``/proc`` says all of it. Why not psutil: its import is a twentieth of what a collector
of a program that lives for two seconds costs in all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from shmperf.config.options import Options
from shmperf.session.messages import WorkerStatus

__all__ = ["Sampler"]

_FIRST_S = 1.0
_TICKS_A_SECOND, _PAGE_BYTES = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
# User and system time, threads, when it was started, and resident memory.
_FIELDS = (11, 12, 17, 19, 21)


class _Process(NamedTuple):
    """A process at one time: when it was started, and the CPU time it had had by then."""

    start_ticks: int
    started_s: float
    cpu_ticks: int
    at_s: float


class Sampler:
    """Keeps the last sample of every worker; the collector's thread."""

    def __init__(
        self,
        interval_s: float,
        clock: Callable[[], float] = time.monotonic,
        note: Callable[[Iterable[WorkerStatus]], None] = lambda _: None,
    ) -> None:
        """*note* is given each sample of all."""
        self._note = note
        self.interval_s = interval_s
        self._clock = clock
        self._due_s = clock() + min(interval_s, _FIRST_S)
        self._processes: dict[int, _Process] = {}
        self._rows: dict[int, WorkerStatus] = {}

    def configure(self, options: Options) -> None:
        """Take up *options*; a shorter interval holds for the present one, too."""
        self.interval_s = options.collector.sample_interval_seconds
        self._due_s = min(self._due_s, self._clock() + self.interval_s)

    def look(self, pids: Callable[[], list[int]]) -> None:
        """Sample the processes of *pids*, when the interval has passed."""
        now = self._clock()
        if now < self._due_s:
            return
        self._due_s = now + self.interval_s
        present = pids()
        self._rows = {pid: row for pid in present if (row := self._sample(pid)) is not None}
        self._processes = {pid: p for pid, p in self._processes.items() if pid in self._rows}
        self._note(self._rows.values())

    def rows(self, pids: list[int]) -> list[WorkerStatus]:
        """The last sample of each of *pids*, nulls where there is none yet."""
        return [self._rows.get(pid) or WorkerStatus(pid=pid) for pid in pids]

    def _sample(self, pid: int) -> WorkerStatus | None:
        try:
            # Behind the name, which may hold anything: the third field of proc(5) is the first.
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            if fields[0] in (b"Z", b"X"):
                return None
            user, system, threads, start_ticks, pages = (int(fields[n]) for n in _FIELDS)
        except (OSError, ValueError, IndexError):
            return None
        now_s, cpu_ticks = self._clock(), user + system
        before = self._processes.get(pid)
        if before is None or before.start_ticks != start_ticks:
            started_s = _booted_s() + start_ticks / _TICKS_A_SECOND
            before = _Process(start_ticks, started_s, cpu_ticks, now_s)
        self._processes[pid] = before._replace(cpu_ticks=cpu_ticks, at_s=now_s)
        spent_s = (cpu_ticks - before.cpu_ticks) / _TICKS_A_SECOND
        elapsed_s = now_s - before.at_s
        return WorkerStatus(
            pid=pid,
            started=before.started_s,
            memory_bytes=pages * _PAGE_BYTES,
            cpu_percent=round(100 * spent_s / elapsed_s, 1) if elapsed_s > 0 else 0.0,
            threads=threads,
        )


def _booted_s() -> float:
    """When the system was started, in Unix seconds."""
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
