"""
A log of frames with an atomic snapshot: what is written here is there after any kill, in order.

    <directory>/snapshot       header · length · CRC-32 · payload
    <directory>/journal.<n>    header · { length · CRC-32 · payload } …
    header:  8 bytes magic · version · n      all integers little-endian, 32 bits

A snapshot of generation n stands for everything before ``journal.<n>``. A new generation begins
with an empty ``journal.<n+1>``; then the snapshot is written aside and renamed, which is the moment
at which the new generation counts; then the old log is deleted.

    killed after …                  the next reader finds                       lost
    part of a frame                 a bad checksum: the frames before it        that frame
    a frame                         it                                          nothing
    new log, no snapshot yet        the old snapshot and the old log            nothing
    snapshot renamed                the new snapshot and an empty log           nothing
    old log not deleted             the same; opening deletes the old log       nothing

A frame that was only half written was never answered for: its slots were not released. After any
failed write the log is not trusted any more: only `replace` goes on, with a whole snapshot. What
could not be opened is never overwritten: `replace` renames it to ``unread-<time>.…`` first, and
nothing of a newer version is ever touched. Nothing is synced to the disk: the promise is against
dying processes, not against a dying machine.

A journal of an older version is only read. The snapshot that replaces it is of this version; before
that, snapshot and log are copied to ``journal.v<version>/``, and stay there until `drop_older`:
moved back, they are what the older program knew. Why copies: they are made while the originals
still count, so whoever is killed in between finds those, and makes the copies anew.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
import zlib
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from shmperf.errors import FormatError, StoreError
from shmperf.files import (
    INTERNALS,
    JOURNAL_HEADER,
    JOURNAL_MAGIC,
    JOURNAL_VERSION,
    check_ours,
    make_storage,
    open_private,
    read_private,
    translated,
)

__all__ = ["Journal", "Recovered", "snapshot_mark"]

_MAGIC, _VERSION, _HEADER = JOURNAL_MAGIC, JOURNAL_VERSION, JOURNAL_HEADER
_OLDEST = 1
_FRAME = Struct("<II")
_LONGEST = 256 << 20
# A snapshot is bounded by its file alone: state that waits for a full disk may be large.
_LONGEST_SNAPSHOT = (1 << 32) - 1
_TRIES = 10
_DAMAGED = -1
_LEAST_TURN = 4 << 20
_OLDER = "journal.v"
_LOGS = "journal.[0-9]*"


class Recovered(NamedTuple):
    """
    What a journal holds; *damage* says in a line what could not be read, if anything.

    Payloads are as the program of that *version* of the journal wrote them.
    """

    snapshot: bytes | None
    frames: list[bytes]
    damage: str | None = None
    version: int = _VERSION


class _Header(NamedTuple):
    version: int
    generation: int


class Journal:
    """The journal of one directory; one process writes it, one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd = -1
        self._generation = 0
        self._size = 0
        self._is_read = False
        self._version = _VERSION
        self._turn = _LEAST_TURN
        # Of the snapshot that counts; see `snapshot_mark`.
        self.mark = b""

    @property
    def wants_snapshot(self) -> bool:
        """True when the log has outgrown the snapshot that would replace it."""
        return self._size > self._turn

    def open(self) -> Recovered:
        """
        What is there, and get ready to append behind it.

        A damaged snapshot is set aside. What an older version wrote has to be replaced before
        anything is appended. Raises StoreError, or FormatError for a newer version.
        """
        try:
            _make_private(self._directory)
            recovered, generation, end = self._recover()
            if generation == _DAMAGED:
                _set_aside(self._directory)  # point: journal-set-aside
                generation = 0
            self._close()
            self._generation, self._version = generation, recovered.version
            if recovered.version == _VERSION:
                self._fd = self._open_log(generation, end)  # point: journal-open
        except OSError as error:
            raise translated(error, self._directory, StoreError) from error
        if recovered.version == _VERSION:
            self._discard_others()  # point: journal-opened
        self._is_read = True
        self.mark = snapshot_mark(self._directory)
        self._size = max(end, _HEADER.size)
        self._turn = max(_LEAST_TURN, 2 * len(recovered.snapshot or b""))
        return recovered

    def read_only(self) -> Recovered:
        """What is there, changing nothing; whole also while a collector replaces it."""
        try:
            for _ in range(_TRIES):
                recovered, generation, _ = self._recover()
                # The log of a generation goes when the next snapshot is there: then look again.
                if self._named_generation() == generation:
                    break
            return recovered
        except OSError as error:
            raise translated(error, self._directory, StoreError) from error

    def append(self, payload: bytes) -> None:
        """Write one frame. Raises StoreError, and from then on until `replace` succeeds."""
        if self._fd < 0:
            raise StoreError(f"{self._directory}: the journal has to be replaced first")
        if len(payload) > _LONGEST:
            # Later frames build on this one, so none may follow it.
            self._close()
            raise StoreError(f"{self._directory}: a frame of {len(payload)} bytes is too long")
        frame = _frame_head(payload) + payload
        try:
            self._check_identity()
            _write_all(self._fd, frame)  # point: journal-append
        except OSError as error:
            self._close()
            raise translated(error, self._directory, StoreError) from error
        except StoreError:
            self._close()
            raise
        self._size += len(frame)  # point: journal-appended

    def replace(self, payload: bytes) -> None:
        """
        Begin a new generation with *payload* as its snapshot; creates a missing directory.

        Raises StoreError, or FormatError before anything of a newer version is touched; what was
        there before still counts then.
        """
        if len(payload) > _LONGEST_SNAPSHOT:
            self._close()
            raise StoreError(f"{self._directory}: a snapshot of {len(payload)} bytes is too long")
        generation = self._generation + 1
        try:
            _make_private(self._directory)
            if not self._is_read:
                _move_unread(self._directory)
            if self._version != _VERSION:
                self._keep_older()
            self._discard(generation)
            fd = self._open_log(generation, 0)  # point: journal-new-log
            try:
                self._write_snapshot(generation, payload)  # point: snapshot-begin
            except OSError:
                os.close(fd)
                self._discard(generation)
                raise
        except OSError as error:
            self._close()
            raise translated(error, self._directory, StoreError) from error
        old = self._generation  # point: snapshot-counts
        self._close()
        self._is_read, self._version = True, _VERSION
        self._fd, self._generation, self._size = fd, generation, _HEADER.size
        self.mark = _HEADER.pack(_MAGIC, _VERSION, generation) + _frame_head(payload)
        self._turn = max(_LEAST_TURN, 2 * len(payload))  # point: snapshot-turn
        self._discard(old)  # point: snapshot-discard

    def drop_older(self) -> None:
        """Delete what was kept of older versions, once this one has proved itself."""
        for kept in self._directory.glob(f"{_OLDER}*"):
            if kept.is_dir() and not kept.is_symlink():
                # With it come the readers of archives, for what is once in a version's life.
                import shutil  # noqa: PLC0415  as said

                shutil.rmtree(kept, ignore_errors=True)

    def close(self) -> None:
        """Let go of the log."""
        self._close()

    # --- reading ---------------------------------------------------------------------------------

    def _recover(self) -> tuple[Recovered, int, int]:
        """What is there, its generation, and where in the log the next frame goes."""
        try:
            header, snapshot = self._read_snapshot()
        except ValueError as error:
            return Recovered(None, [], f"snapshot: {error}"), _DAMAGED, 0
        known, generation = header or _Header(0, 0)
        found, frames, end, damage = self._read_log(generation)
        if known and found != known:
            # Only an empty log that never counted can be of another version.
            frames, end, found = [], 0, known
        return Recovered(snapshot, frames, damage, found), generation, end

    def _read_snapshot(self) -> tuple[_Header | None, bytes | None]:
        try:
            content = read_private(self._directory / "snapshot")
        except FileNotFoundError:
            return None, None
        header = _parse_header(content)
        frames, _, damage = _parse_frames(content, _LONGEST_SNAPSHOT)
        if damage or len(frames) != 1:
            raise ValueError(damage or "no payload")
        return header, frames[0]

    def _named_generation(self) -> int:
        """The generation that the snapshot names now."""
        try:
            head = read_private(self._directory / "snapshot", _HEADER.size)
            return _parse_header(head).generation
        except FileNotFoundError:
            return 0
        except ValueError:
            return _DAMAGED

    def _read_log(self, generation: int) -> tuple[int, list[bytes], int, str | None]:
        """The version of a log, its frames, where they end, and what is damaged behind them."""
        try:
            content = read_private(self._log(generation))
        except FileNotFoundError:
            return _VERSION, [], 0, None
        try:
            header = _parse_header(content, generation)
        except ValueError as error:
            return _VERSION, [], 0, f"{self._log(generation).name}: {error}"
        frames, end, damage = _parse_frames(content, _LONGEST)
        return header.version, frames, end, damage and f"{self._log(generation).name}: {damage}"

    # --- writing ---------------------------------------------------------------------------------

    def _log(self, generation: int) -> Path:
        return self._directory / f"journal.{generation}"

    def _open_log(self, generation: int, end: int) -> int:
        """The log, opened for appending at *end*; 0 begins it anew."""
        fd = open_private(self._log(generation), os.O_RDWR | os.O_CREAT | os.O_APPEND)
        try:
            check_ours(fd)
            os.ftruncate(fd, end)  # point: journal-cut
            if not end:
                _write_all(fd, _HEADER.pack(_MAGIC, _VERSION, generation))
        except OSError:
            os.close(fd)
            raise
        return fd

    def _write_snapshot(self, generation: int, payload: bytes) -> None:
        aside = self._directory / "snapshot.new"
        aside.unlink(missing_ok=True)
        fd = _create_private(aside)
        try:
            _write_all(fd, _HEADER.pack(_MAGIC, _VERSION, generation))
            # point below: snapshot-header
            _write_all(fd, _frame_head(payload))
            _write_all(fd, payload)  # point: snapshot-payload
        finally:
            os.close(fd)
        aside.replace(self._directory / "snapshot")  # point: snapshot-rename

    def _check_identity(self) -> None:
        """The log must still be the file that its name leads to."""
        ours = os.fstat(self._fd)
        try:
            named = self._log(self._generation).lstat()
        except FileNotFoundError:
            raise StoreError(f"{self._log(self._generation)} has disappeared") from None
        if (ours.st_ino, ours.st_dev) != (named.st_ino, named.st_dev):
            raise StoreError(f"{self._log(self._generation)} has been exchanged")

    def _keep_older(self) -> None:
        """Copy what an older version wrote; what an earlier attempt left there is made anew."""
        kept = self._directory / f"{_OLDER}{self._version}"
        _make_private(kept)
        for path in [self._directory / "snapshot", self._log(self._generation)]:
            copy = kept / path.name
            copy.unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):
                _write_private(copy, read_private(path))

    def _discard_others(self) -> None:
        """Delete what a killed replacement left: other logs, and a snapshot that never counted."""
        ours = self._log(self._generation)
        try:
            for path in [*self._directory.glob(_LOGS), self._directory / "snapshot.new"]:
                if path != ours:
                    path.unlink(missing_ok=True)
        except OSError:
            return

    def _discard(self, generation: int) -> None:
        try:
            self._log(generation).unlink(missing_ok=True)
        except OSError:
            return

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def snapshot_mark(directory: Path) -> bytes:
    """How the snapshot in *directory* begins: no other one has these bytes. Empty without one."""
    try:
        return read_private(directory / "snapshot", _HEADER.size + _FRAME.size)
    except OSError:
        return b""


def _frame_head(payload: bytes) -> bytes:
    return _FRAME.pack(len(payload), zlib.crc32(payload))


def _set_aside(directory: Path) -> None:
    """Put a damaged snapshot where nobody reads it, and what was built on it away."""
    damaged = directory / "snapshot"
    damaged.replace(directory / f"snapshot.damaged-{time.time_ns()}")
    for log in directory.glob(_LOGS):
        log.unlink()


def _move_unread(directory: Path) -> None:
    """Put what nobody could read where it does no harm and is not lost; nothing newer."""
    for path in [directory / "snapshot", *directory.glob(_LOGS)]:
        with contextlib.suppress(OSError, ValueError):
            _parse_header(read_private(path, _HEADER.size))
    for path in [*directory.glob("snapshot"), *directory.glob(_LOGS)]:
        path.replace(directory / f"unread-{time.time_ns()}.{path.name}")


def _parse_header(content: bytes, expected: int | None = None) -> _Header:
    if len(content) < _HEADER.size:
        raise ValueError("shorter than its header")
    magic, version, generation = _HEADER.unpack_from(content)
    if magic != _MAGIC:
        raise ValueError("not a journal of shmperf")
    if not _OLDEST <= version <= _VERSION:
        raise FormatError(f"found a journal of version {version}, expected {_VERSION}")
    if expected is not None and generation != expected:
        raise ValueError("the log of another generation")
    return _Header(version, generation)


def _parse_frames(content: bytes, longest: int) -> tuple[list[bytes], int, str | None]:
    """The frames in *content* up to the first damage, where that is, and what it is."""
    frames: list[bytes] = []
    at = _HEADER.size
    while at < len(content):
        if at + _FRAME.size > len(content):
            return frames, at, f"a torn frame at {at}"
        length, check = _FRAME.unpack_from(content, at)
        start = at + _FRAME.size
        payload = content[start : start + length]
        if length > longest or len(payload) != length or zlib.crc32(payload) != check:
            return frames, at, f"a torn or damaged frame at {at}"
        frames.append(payload)
        at = start + length
    return frames, at, None


def _make_private(directory: Path) -> None:
    if directory.name == INTERNALS:
        make_storage(directory.parent)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{directory} is not a directory of ours")
    if stat.S_IMODE(found.st_mode) & 0o077:
        directory.chmod(0o700)


def _create_private(path: Path) -> int:
    return open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL)


def _write_private(path: Path, content: bytes) -> None:
    fd = _create_private(path)
    try:
        _write_all(fd, content)
    finally:
        os.close(fd)


def _write_all(fd: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]
