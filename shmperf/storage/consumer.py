"""
A reader of the outbox, in a process of its own: takes lines, sends them, acknowledges.

Its cursor moves only after the other side has acknowledged, so whoever kills it makes it send some
lines again, with the same ids, and never skip one. What went before it could be read is counted.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from shmperf.errors import StoreError
from shmperf.files import check_ours, open_private, translated

from .outbox import (
    CONSUMER_NAME,
    CURSOR,
    Cursor,
    End,
    file_name,
    first_numbers,
    make_directory,
    outbox_of,
    read_cursor,
    read_end,
    registered,
    write_cursor,
)

__all__ = ["Consumer", "Lines", "Progress", "consumers"]

_MOST_BATCH_BYTES = 4 << 20


class Progress(NamedTuple):
    """How far a consumer has come: lines that wait for it, their bytes, lines sent and dropped."""

    lag: int = 0
    lag_bytes: int = 0
    sent: int = 0
    dropped: int = 0
    problem: str | None = None


class Lines(msgspec.Struct, frozen=True):
    """
    Lines in order, without their ends; `Consumer.acknowledge` wants it back.

    *number* is the first line's; *dropped* counts lines that are missing before it. There may be
    no line, when all that would come are missing.
    """

    number: int
    lines: list[bytes]
    dropped: int
    first: int
    offset: int


class Consumer:
    """
    One reader of a storage's outbox, in whatever process: takes lines, sends them, acknowledges.

    It is registered from `register` to `unregister`, running or not. What is not acknowledged is
    read again by the next process of this name; only one at a time may read.
    """

    def __init__(self, storage: Path, name: str) -> None:
        """Raises ValueError for a *name* that is no short word of a-z, 0-9, _ and -."""
        if not CONSUMER_NAME.match(name):
            raise ValueError(f"consumer {name!r}: up to 40 of a-z, 0-9, _ and -")
        self.name = name
        self._path = outbox_of(storage)
        self._cursor_path = self._path / f"{name}{CURSOR}"
        self._cursor: Cursor | None = None
        self._lock = -1

    @property
    def is_registered(self) -> bool:
        """True once this process has registered it, and may read."""
        return self._cursor is not None

    @property
    def sent(self) -> int:
        """Lines that have been acknowledged, ever."""
        return 0 if self._cursor is None else self._cursor.sent

    @property
    def dropped(self) -> int:
        """Lines that went before they were read, as far as they are acknowledged."""
        return 0 if self._cursor is None else self._cursor.dropped

    def register(self, *, at_start: bool = False) -> None:
        """
        From now on lines are kept for this consumer; one that is registered goes on where it was.

        A new one begins with the next line, or *at_start* with the oldest that is there. So does
        one whose cursor makes no sense: better twice than never. Raises StoreError, also when
        another process reads under this name.
        """
        try:
            make_directory(self._path)
            self._hold()
            end = read_end(self._path)
            cursor = self._cursor = read_cursor(self._cursor_path)
            is_new = cursor is None and not os.path.lexists(self._cursor_path)
            if is_new and not at_start:
                self._write_cursor(Cursor(end.next))
            elif cursor is None or _is_beyond(cursor, end):
                self._start_over(end)
        except OSError as error:
            raise translated(error, self._cursor_path, StoreError) from error

    def unregister(self) -> None:
        """Nothing is kept for this consumer from now on."""
        self._cursor_path.unlink(missing_ok=True)
        self.close()

    def let_go(self) -> int:
        """
        Unregister it for somebody who wants it no more; how many lines had waited for it.

        Raises StoreError, also while a process reads under this name: another time, then.
        """
        if not os.path.lexists(self._cursor_path):
            return 0
        try:
            self._hold()
            waiting = _progress(self._path, [self.name])[self.name].lag
            self.unregister()
        except OSError as error:
            raise translated(error, self._cursor_path, StoreError) from error
        finally:
            self.close()
        return waiting

    def close(self) -> None:
        """Let another process read under this name; it stays registered."""
        self._cursor = None
        if self._lock >= 0:
            os.close(self._lock)
        self._lock = -1

    def _hold(self) -> None:
        if self._lock >= 0:
            return
        fd = open_private(self._path / f"{self.name}.lock", os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            raise translated(error, f"consumer {self.name}: it is running", StoreError) from error
        self._lock = fd

    def read(self, most: int = 1000) -> Lines | None:
        """
        The next lines, at most so many and some 4 MiB; None when nothing is to be had now.

        The same ones until they are acknowledged. Raises StoreError when it is not registered, or
        the outbox can't be read.
        """
        cursor = self._cursor
        if cursor is None:
            raise StoreError(f"{self._cursor_path}: not registered")
        try:
            end = read_end(self._path)
            if _is_beyond(cursor, end):
                cursor = self._start_over(end)
            if cursor.next >= end.next:
                return None
            return self._read(cursor, end, most)
        except OSError as error:
            raise translated(error, self._path, StoreError) from error

    def acknowledge(self, taken: Lines) -> None:
        """
        The other side has *taken* these, the last that were read: they are never read again.

        Raises StoreError, and ValueError for lines that are not the next ones.
        """
        cursor = self._cursor
        if cursor is None:
            raise StoreError(f"{self._cursor_path}: not registered")
        if taken.number - taken.dropped != cursor.next:
            raise ValueError(f"line {cursor.next} is the next one, not {taken.number}")
        moved = Cursor(
            next=taken.number + len(taken.lines),
            first=taken.first,
            offset=taken.offset,
            sent=cursor.sent + len(taken.lines),
            dropped=cursor.dropped + taken.dropped,
        )
        try:
            self._write_cursor(moved)
        except OSError as error:
            raise translated(error, self._cursor_path, StoreError) from error

    def _read(self, cursor: Cursor, end: End, most: int) -> Lines:
        firsts = sorted(first for first in first_numbers(self._path) if first < end.next)
        # The file that the next line is in, or else the first behind it.
        held = [first for first in firsts if first <= cursor.next]
        for first in [*held[-1:], *(first for first in firsts if first > cursor.next)]:
            limit = end.size if first == end.first else None
            try:
                taken = self._read_file(cursor, first, limit, most)
            except FileNotFoundError:
                # Deleted meanwhile: its lines count as dropped.
                continue
            if taken is not None:
                return taken
        return Lines(end.next, [], end.next - cursor.next, -1, 0)

    def _read_file(self, cursor: Cursor, first: int, limit: int | None, most: int) -> Lines | None:
        """Lines of one file from the cursor's on; None when it has none behind that."""
        fd = open_private(self._path / file_name(first), os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(fd, "rb") as file:
            size = check_ours(file.fileno()).st_size
            size = size if limit is None else min(size, limit)
            number, offset = first, 0
            if cursor.first == first <= cursor.next and _begins_line(fd, cursor.offset, size):
                number, offset = cursor.next, cursor.offset
            file.seek(offset)
            while number < cursor.next and offset < size:
                offset += len(file.readline())
                number += 1
            lines: list[bytes] = []
            start = offset
            while offset < size and len(lines) < most and offset - start < _MOST_BATCH_BYTES:
                line = file.readline()
                offset += len(line)
                lines.append(line.rstrip(b"\n"))
        if not lines:
            return None
        return Lines(number, lines, max(0, number - cursor.next), first, offset)

    def _start_over(self, end: End) -> Cursor:
        """From the oldest line on, with the counts of before."""
        start = min([end.next, *first_numbers(self._path)])
        cursor = Cursor(start, sent=self.sent, dropped=self.dropped)
        self._write_cursor(cursor)
        return cursor

    def _write_cursor(self, cursor: Cursor) -> None:
        write_cursor(self._path, self.name, cursor)
        self._cursor = cursor  # point: outbox-acknowledge


def consumers(storage: Path) -> Mapping[str, Progress]:
    """Every registered consumer by name, and how it is; changes nothing. Raises StoreError."""
    path = outbox_of(storage)
    try:
        return _progress(path, registered(path))
    except OSError as error:
        raise translated(error, path, StoreError) from error


def _progress(path: Path, names: Sequence[str]) -> dict[str, Progress]:
    if not names:
        return {}
    end = read_end(path)
    sizes = {first: (path / file_name(first)).lstat().st_size for first in first_numbers(path)}
    return {name: _status_of(path, name, end, sizes) for name in names}


def _status_of(path: Path, name: str, end: End, sizes: Mapping[int, int]) -> Progress:
    cursor = read_cursor(path / f"{name}{CURSOR}")
    if cursor is None:
        return Progress(problem="its cursor can't be read")
    if _is_beyond(cursor, end):
        return Progress(
            sent=cursor.sent, dropped=cursor.dropped, problem="its cursor is beyond the last line"
        )
    oldest = min(sizes, default=end.next)
    mine = max((first for first in sizes if first <= cursor.next), default=oldest)
    waiting = sum(size for first, size in sizes.items() if first >= mine)
    passed = cursor.offset if cursor.first == mine else 0
    if passed and passed >= sizes.get(mine, 0):
        # All of that file is read; numbers between it and the next one were passed over.
        oldest = min((first for first in sizes if first > mine), default=end.next)
    missing = max(0, oldest - cursor.next)
    return Progress(
        lag=max(0, end.next - cursor.next - missing),
        lag_bytes=max(0, waiting - passed),
        sent=cursor.sent,
        dropped=cursor.dropped + missing,
    )


def _is_beyond(cursor: Cursor, end: End) -> bool:
    # Numbers have begun anew, or the cursor is another outbox's: it would wait, and miss all.
    # Where the end was never told, or is damaged, the collector's next commit tells it.
    return cursor.next > end.next > 0


def _begins_line(fd: int, offset: int, size: int) -> bool:
    return offset <= size and (not offset or os.pread(fd, 1, offset - 1) == b"\n")
