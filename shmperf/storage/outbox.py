"""
The outbox: what goes to history is handed on to other systems from here, every line once.

    <storage>/.shmperf/outbox/<first line's number>.jsonl   lines, numbered on without a gap
                              committed                     how far readers may read
                              <consumer>.cursor             how far that consumer has come

A consumer is registered by its cursor; while there is none, nothing is written. Those that are
wanted are registered before a line is written, so that the first one is theirs. Each line is a
JSON object of its ``kind``: a call as history shows it, an alert's change, an interval's totals.
Lines are appended before the frame that lists them is journalled, in the same frame as the history
files that calls stand in, or as how far the telling of intervals has come; only what is journalled
is committed, so no reader sees a line that a restart cuts back.

    killed after …                    the next collector finds
    created, not journalled           a file that is not listed: taken up, or deleted when empty
    appended, not journalled          a file longer than listed: cut back, the calls are still kept
    journalled, not committed         the end in the journal, and commits it
    deleted, not journalled           a file that is missing: its lines are gone for everybody
    sent, not acknowledged            (a consumer) the old cursor: the lines are sent again, with
                                      the same ids

Files that every consumer has passed are deleted. Beyond ``storage.outbox_bytes`` the oldest goes,
read or not, and where lines can't be written their numbers are passed over: a consumer counts what
is missing before the next line that it finds.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from struct import Struct
from zlib import crc32

import msgspec

from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.timeline import LENGTH_NS
from shmperf.files import (
    check_ours,
    internals,
    open_private,
    read_private,
    reason_of,
    sync_directory,
)

from .history import FileState, count_lines
from .lines import timestamp

__all__ = [
    "CONSUMER_NAME",
    "CURSOR",
    "Cursor",
    "End",
    "Outbox",
    "OutboxChange",
    "OutboxState",
    "call_lines",
    "file_name",
    "first_numbers",
    "make_directory",
    "outbox_of",
    "read_cursor",
    "read_end",
    "registered",
    "sync",
    "totals_lines",
    "write_cursor",
]

_DIRECTORY = "outbox"
_COMMITTED = "committed"
_FILE = re.compile(r"(\d{16})\.jsonl\Z")
CONSUMER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}\Z")
CURSOR = ".cursor"
_MOST_CONSUMERS = 64
_MOST_CURSOR_BYTES = 4096
# A file is a part of what the outbox may hold, so that little goes when the oldest does.
_PARTS = 16
_LEAST_FILE_BYTES = 64 << 10
_MOST_FILE_BYTES = 64 << 20
_APPEND = os.O_RDWR | os.O_APPEND
_END = Struct("<QQQI")
_SCALARS = Struct("<QQQ")


class OutboxState(msgspec.Struct, array_like=True):
    """What the journal knows: the files by their first line's number, and the next number."""

    files: dict[int, FileState] = {}
    next: int = 0


class OutboxChange(msgspec.Struct, array_like=True):
    """What a frame says of it: files as they are now, files that are gone, the next number."""

    files: dict[int, FileState] = {}
    gone: list[int] = []
    next: int = 0

    def apply(self, state: OutboxState) -> None:
        """Change *state* accordingly."""
        state.files.update(self.files)
        for first in self.gone:
            state.files.pop(first, None)
        state.next = max(state.next, self.next)


class Cursor(msgspec.Struct, forbid_unknown_fields=True):
    """
    How far a consumer has come.

    *offset* is where line *next* begins in the file of *first*, where that is known; else -1.
    """

    next: int
    first: int = -1
    offset: int = 0
    sent: int = 0
    dropped: int = 0


class End(msgspec.Struct):
    """Up to where lines may be read: *size* bytes of the file of *first*; *next* comes then."""

    first: int
    size: int
    next: int


_NOTHING = OutboxChange()
_json_lines = msgspec.json.Encoder().encode_lines


def call_lines(history: bytes) -> bytes:
    """Lines of calls for the outbox, of lines as they stand in a history file."""
    return b"".join(b'{"kind":"call",' + line[1:] for line in history.splitlines(keepends=True))


class _TotalsLine(msgspec.Struct, rename={"from_": "from"}, gc=False):
    """What a tool did in an interval; a histogram as `shmperf.analysis.totals` has it."""

    kind: str
    tool: str
    from_: str
    to: str
    count: int
    errors: int
    aborted: int
    sampled_out: int
    own_ns: int
    sum_ns: int
    min_ns: int | None
    max_ns: int | None
    zero_count: int
    untimed: int
    histogram: dict[int, int]


def totals_lines(start_ns: int, tools: Mapping[str, IntervalTotals]) -> bytes:
    """Lines for the outbox: the totals of *tools* in the interval that begins at *start_ns*."""
    begin, end = timestamp(start_ns), timestamp(start_ns + LENGTH_NS)
    return _json_lines(
        [
            _TotalsLine(
                "totals",
                tool,
                begin,
                end,
                one.count,
                one.errors,
                one.aborted,
                one.sampled_out,
                one.own_ns,
                one.sum_ns,
                one.min_ns,
                one.max_ns,
                one.zero_count,
                one.untimed,
                one.histogram,
            )
            for tool, one in tools.items()
        ]
    )


# --- the collector's side -------------------------------------------------------------------------


def outbox_of(storage: Path) -> Path:
    """The directory of the outbox of *storage*."""
    return internals(storage) / _DIRECTORY


class Outbox:
    """The outbox of one storage; one thread of the collector writes it."""

    def __init__(self, storage: Path) -> None:
        self.state = OutboxState()
        # What keeps lines from being written now.
        self.problem = ""
        # Consumers for whom lines are kept, whether or not their process has come up.
        self.wanted: frozenset[str] = frozenset()
        self._path = outbox_of(storage)
        self._is_wanted = False

    def restore(self, state: OutboxState) -> OutboxChange:
        """
        Take up what the journal lists, each file cut back to its listed size; what differs from it.

        A file that is not listed is one of a journal that is lost, or was created just before a
        kill: its whole lines are taken up. Numbers never go back, even where the journal does:
        who has read up to one of them would pass over the lines that get it again.
        """
        known = self.state = OutboxState(dict(state.files), state.next)
        change = OutboxChange()
        try:
            here = {first: self._restored(first) for first in first_numbers(self._path)}
            told = self._told()
        except OSError as error:
            self._note(error)
            return change
        for first, file in here.items():
            if file is not None and file != known.files.get(first):
                change.files[first] = file
        change.gone = [first for first in known.files if here.get(first) is None]
        ends = [first + file.lines for first, file in change.files.items()]
        change.next = max(known.next, told, *ends)
        change.apply(known)
        if known.next:
            self.commit()
        return change

    def _told(self) -> int:
        """The next number as readers know it."""
        try:
            return read_end(self._path).next
        except OSError:
            return 0

    def _restored(self, first: int) -> FileState | None:
        known = self.state.files.get(first)
        name = file_name(first)
        try:
            fd = open_private(self._path / name, _APPEND)
        except OSError:
            return None
        try:
            found = check_ours(fd)  # point: outbox-restore
            if known is not None and found.st_ino == known.inode and found.st_size >= known.size:
                os.ftruncate(fd, known.size)  # point: outbox-cut
                return known
            lines, size = count_lines(fd)
            os.ftruncate(fd, size)
        except PermissionError:
            return None
        finally:
            os.close(fd)
        if lines:
            return FileState(name, found.st_ino, size, lines)
        (self._path / name).unlink(missing_ok=True)
        return None

    def prepare(self, most_bytes: int) -> OutboxChange | None:
        """
        Make room for further lines, *most_bytes* for all files; what has changed by that, if
        anything: it must be journalled before `append`. Without a consumer what is there goes.
        """
        change = OutboxChange()
        try:
            names = self._registered()
            self._is_wanted = bool(names)
            if names or self.state.files:
                self._prune(change, names, most_bytes)
            if names:
                self._begin_file(change, most_bytes)
            self.problem = ""
        except OSError as error:
            self._note(error)
        change.apply(self.state)
        return change if change != _NOTHING else None

    @property
    def is_wanted(self) -> bool:
        """True when there was a consumer at the last `prepare`, or will be at the next one."""
        return self._is_wanted or bool(self.wanted)

    def append(self, text: bytes) -> OutboxChange:
        """
        Append whole lines; a failed write is cut back, and the lines' numbers are passed over.

        The caller journals the change, and calls `commit`.
        """
        current = self._current()
        lines = text.count(b"\n")
        change = OutboxChange(next=self.state.next + lines)
        if current is not None:
            first, known = current
            try:
                size = self._write(known, text)
                change.files[first] = FileState(known.name, known.inode, size, known.lines + lines)
            except OSError as error:
                # Never in the way of history: the lines are missing, and counted by who reads.
                self._note(error)
        change.apply(self.state)
        return change

    def commit(self) -> None:
        """Let readers go as far as the journal does."""
        state = self.state
        first = max(state.files, default=0)
        file = state.files.get(first)
        end = _SCALARS.pack(first, 0 if file is None else file.size, state.next)
        aside = self._path / f".{_COMMITTED}.new"
        try:
            aside.unlink(missing_ok=True)
            fd = open_private(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            try:
                os.write(fd, end + crc32(end).to_bytes(4, "little"))
            finally:
                os.close(fd)
            aside.replace(self._path / _COMMITTED)  # point: outbox-commit
        except OSError as error:
            # The next commit says it, too.
            self._note(error)

    def _registered(self) -> list[str]:
        """The consumers there are; one that is wanted and is new begins with the next line."""
        names = registered(self._path)
        for name in sorted(self.wanted.difference(names)):
            make_directory(self._path)
            write_cursor(self._path, name, Cursor(self.state.next), "first")
            names.append(name)  # point: outbox-registered
        return names

    def _note(self, error: OSError) -> None:
        self.problem = f"{self._path}: {reason_of(error)}"

    def _current(self) -> tuple[int, FileState] | None:
        """The file that ends with the line before the next."""
        first = max(self.state.files, default=-1)
        file = self.state.files.get(first)
        if file is None or first + file.lines != self.state.next:
            return None
        return first, file

    def _begin_file(self, change: OutboxChange, most_bytes: int) -> None:
        current = self._current()
        if current is not None and not (self._path / current[1].name).exists():
            # Somebody has deleted it: what comes now is to be found, and goes to another one.
            if current[0] != self.state.next:
                change.gone.append(current[0])
            current = None
        longest = min(max(most_bytes // _PARTS, _LEAST_FILE_BYTES), _MOST_FILE_BYTES)
        if current is not None and current[0] not in change.gone and current[1].size < longest:
            return
        first = self.state.next
        name = file_name(first)
        (self._path / name).unlink(missing_ok=True)
        fd = open_private(self._path / name, _APPEND | os.O_CREAT | os.O_EXCL)
        try:
            # point below: outbox-created
            change.files[first] = FileState(name, os.fstat(fd).st_ino, 0, 0)
        finally:
            os.close(fd)

    def _prune(self, change: OutboxChange, names: Iterable[str], most_bytes: int) -> None:
        """Delete what all have read, and the oldest beyond *most_bytes*."""
        passed = min((self._position(name) for name in names), default=self.state.next)
        newest = max(self.state.files, default=-1) if self.is_wanted else -1
        used = sum(file.size for file in self.state.files.values())
        for first, file in sorted(self.state.files.items()):
            is_read = passed >= first + file.lines and first != newest
            if not is_read and used <= most_bytes:
                break
            (self._path / file.name).unlink(missing_ok=True)  # point: outbox-delete
            used -= file.size
            change.gone.append(first)  # point: outbox-deleted

    def _position(self, name: str) -> int:
        # Of one whose cursor makes no sense nothing is known: only the bound deletes its lines.
        cursor = read_cursor(self._path / f"{name}{CURSOR}")
        return 0 if cursor is None or cursor.next > self.state.next else cursor.next

    def _write(self, known: FileState, text: bytes) -> int:
        fd = open_private(self._path / known.name, _APPEND)
        try:
            found = check_ours(fd)
            if found.st_ino != known.inode or found.st_size < known.size:
                raise FileNotFoundError(f"{known.name} has been exchanged")
            if found.st_size > known.size:
                os.ftruncate(fd, known.size)
            view = memoryview(text)  # point: outbox-append
            try:
                while view:
                    view = view[os.write(fd, view) :]  # point: outbox-write
            except OSError:
                os.ftruncate(fd, known.size)
                raise
            return known.size + len(text)
        finally:
            os.close(fd)


def file_name(first: int) -> str:
    return f"{first:016d}.jsonl"


def first_numbers(path: Path) -> list[int]:
    """The numbers that files are named after; none without a directory."""
    try:
        names = os.listdir(path)  # noqa: PTH208  names, not paths
    except FileNotFoundError:
        return []
    return [int(match[1]) for match in map(_FILE.match, names) if match is not None]


def registered(path: Path) -> list[str]:
    """The consumers with a cursor, at most so many that no look takes long."""
    try:
        names = os.listdir(path)  # noqa: PTH208  names, not paths
    except FileNotFoundError:
        return []
    if path.is_symlink():
        raise PermissionError("found a directory that is not ours")
    stems = [name.removesuffix(CURSOR) for name in names if name.endswith(CURSOR)]
    return sorted(filter(CONSUMER_NAME.match, stems))[:_MOST_CONSUMERS]


def read_cursor(path: Path) -> Cursor | None:
    """The cursor there; None without one that makes sense."""
    try:
        cursor = msgspec.json.decode(read_private(path, _MOST_CURSOR_BYTES), type=Cursor)
    except (OSError, msgspec.MsgspecError):
        return None
    counts = (cursor.next, cursor.first + 1, cursor.offset, cursor.sent, cursor.dropped)
    return cursor if min(counts) >= 0 else None


def write_cursor(path: Path, name: str, cursor: Cursor, aside_name: str = "new") -> None:
    """
    Let the consumer of that name be so far: whoever reads finds this, or what was there before.

    It is written aside; whoever may write it at the same time takes another *aside_name*.
    """
    aside = path / f".{name}{CURSOR}.{aside_name}"
    aside.unlink(missing_ok=True)
    fd = open_private(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(fd, msgspec.json.encode(cursor))
    finally:
        os.close(fd)
    aside.replace(path / f"{name}{CURSOR}")


def make_directory(path: Path) -> None:
    """Let there be an outbox at *path*, and nobody else's; raises PermissionError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if not path.is_dir() or path.is_symlink() or found.st_uid != os.geteuid():
        raise PermissionError("found a directory that is not ours")


def read_end(path: Path) -> End:
    """Up to where lines may be read; nowhere when that was never told."""
    try:
        content = read_private(path / _COMMITTED, _END.size)
    except FileNotFoundError:
        return End(0, 0, 0)
    if len(content) != _END.size or crc32(content[: _SCALARS.size]) != _END.unpack(content)[3]:
        return End(0, 0, 0)
    return End(*_SCALARS.unpack_from(content))


def sync(path: Path, number: int) -> None:
    """Let the file that line *number* is in, and how far readers may read, be on the disk."""
    firsts = sorted(first for first in first_numbers(path) if first <= number)
    for name in [*map(file_name, firsts[-1:]), _COMMITTED]:
        try:
            fd = open_private(path / name, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            # Its lines have gone for everybody meanwhile.
            continue
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
    sync_directory(path)
