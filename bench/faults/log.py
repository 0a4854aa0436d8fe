"""
What a worker knows of its own calls, kept outside shmperf where a kill can't take it away.

A mapped file of three words a call, each written at its moment:

    1 when the call is about to begin · its id, from inside the tool · 1 when it has returned

The first word of the file tells the worker to stop. Killed anywhere, a call is in exactly one of
four states: not begun, perhaps begun, open, or finished.
"""

from __future__ import annotations

import itertools
import mmap
import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import shmperf
from shmperf.shm.inflight import FIRST_UNRECORDED
from shmperf.shm.remote import is_remote

__all__ = ["Full", "Known", "Log", "ask_to_stop", "read_logs"]

_HEADER = 8
_WORDS = 3
_NO_ID = (1 << 64) - 1


class Full(Exception):
    """There is no room for a further call."""


class Log:
    """The log of one process."""

    def __init__(self, path: Path, slots: int = 2048) -> None:
        size = _HEADER * 8 + slots * _WORDS * 8
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.ftruncate(fd, size)
        self._words = memoryview(mmap.mmap(fd, size)).cast("Q")
        os.close(fd)
        self._words[1] = os.getpid()
        self._slots = slots
        self._next = itertools.count()
        self._seen: set[str] = set()
        self.path = path

    @property
    def must_stop(self) -> bool:
        """True once the campaign has asked for it."""
        return bool(self._words[0])

    def intend(self) -> int:
        """A call is about to begin; raises Full."""
        slot = next(self._next)
        if slot >= self._slots:
            raise Full
        self._words[_HEADER + slot * _WORDS] = 1
        return slot

    def enter(self, slot: int) -> None:
        """Inside the tool: the call has begun, under the id that is current."""
        found = shmperf.current()
        if found in self._seen or (found and is_remote(int(found, 16))):
            # This call is not recorded: what is current is the one around it, or whose trace it is.
            found = None
        elif found:
            self._seen.add(found)
        self._words[_HEADER + slot * _WORDS + 1] = int(found, 16) if found else _NO_ID

    def enter_as(self, slot: int, call_id: str) -> None:
        """The same with an id that the caller got."""
        self._words[_HEADER + slot * _WORDS + 1] = int(call_id, 16) if call_id else _NO_ID

    def done(self, slot: int) -> None:
        """The call has returned."""
        self._words[_HEADER + slot * _WORDS + 2] = 1

    def child(self) -> Log:
        """In a fork: a log of its own, beside this one."""
        return Log(self.path.with_name(f"{self.path.name}.{os.getpid()}"), self._slots)


def ask_to_stop(path: Path) -> None:
    """Tell the worker that writes *path* to stop."""
    with path.open("r+b") as file:
        file.write(b"\1")


class Known(NamedTuple):
    """What several logs say together."""

    finished: set[int]
    opened: set[int]
    perhaps: Counter[int]  # by pid: calls that may have begun
    unrecorded: int  # finished without an id
    unrecorded_open: int
    numbers: dict[int, int]  # by id: the number that its worker has given to the call

    @property
    def begun(self) -> int:
        """Calls that have begun for certain."""
        return len(self.finished) + len(self.opened) + self.unrecorded + self.unrecorded_open


def read_logs(paths: list[Path]) -> Known:
    """Read the logs of processes that have ended."""
    known = Known(set(), set(), Counter(), 0, 0, {})
    unrecorded = unrecorded_open = 0
    for path in paths:
        words = memoryview(path.read_bytes()).cast("Q")
        if not words:
            continue  # killed while it made its log
        pid = words[1]
        rows = words[_HEADER:].tolist()
        calls = zip(rows[0::3], rows[1::3], rows[2::3], strict=True)
        for number, (intended, call_id, done) in enumerate(calls):
            if not intended:
                continue
            if call_id and call_id != _NO_ID:
                known.numbers[_unique(call_id, pid)] = number
            if call_id == _NO_ID:
                unrecorded += done
                unrecorded_open += not done
            elif done:
                known.finished.add(_unique(call_id, pid))
            elif call_id:
                known.opened.add(_unique(call_id, pid))
            else:
                known.perhaps[pid] += 1
    return known._replace(unrecorded=unrecorded, unrecorded_open=unrecorded_open)


def _unique(call_id: int, pid: int) -> int:
    """A call that is sampled out has an id of its process, which others have as well."""
    return call_id | pid << 64 if call_id >= FIRST_UNRECORDED else call_id
