"""
Which numbers of an outbox mean which lines, for ever: runs of numbers that never began anew.

    <storage>/.shmperf/fleet-numbers    msgpack [version, [run, …]], the last one is the present one

The numbers of an outbox never go back while it lies where it is. They do where its directory was
deleted, or the storage is a copy, or was put back from a backup: then a number that was published
comes again, for another line, and whoever stores each number once would throw that line away. So
what goes over the wire is the origin of a *run*. The first run of a storage has the storage's own;
when the directory is another one (its inode) or the outbox ends before what was published, a new
run begins, with an origin made of the storage's and of random bytes: a copy and its original, or
two that were put back from the same backup, don't share one.

    killed after …                      the next publisher
    a run written, nothing published    goes on with it
    lines published, not acknowledged   publishes them again, in the same run
    a storage copied in between         publishes them in a run of its own: those few lines twice

Written before anything with a higher number is published. A file that can't be read begins a new
run: better a line twice, by another origin, than one thrown away.
"""

from __future__ import annotations

import os
import secrets
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shmperf.errors import StoreError
from shmperf.files import internals, open_private, read_private, translated
from shmperf.storage.origin import origin_of
from shmperf.storage.outbox import outbox_of, read_end

__all__ = ["Numbers", "Run", "runs_of"]

_FILE = "fleet-numbers"
_VERSION = 1
_MOST_BYTES, _MOST_RUNS = 64 << 10, 64
_NUMBER = Meta(ge=0, le=1 << 62)


class Run(msgspec.Struct, array_like=True):
    """
    Numbers of one meaning: *origin* names them on the wire.

    Published were those from *first* to before *after*, or are being published, but for *dropped*
    lines among them that were lost before they could be.
    """

    origin: Annotated[bytes, Meta(min_length=16, max_length=16)]
    inode: int = 0
    first: Annotated[int, _NUMBER] = 0
    after: Annotated[int, _NUMBER] = 0
    dropped: Annotated[int, _NUMBER] = 0


class _Runs(msgspec.Struct, array_like=True):
    version: int
    runs: list[Run]


def runs_of(storage: Path) -> list[Run]:
    """What was published of *storage*, ever, as far as it is known; the last run is the present."""
    try:
        content = read_private(internals(storage) / _FILE, _MOST_BYTES)
        found = msgspec.msgpack.decode(content, type=_Runs)
    except (OSError, msgspec.MsgspecError, ValueError):
        return []
    return found.runs if found.version == _VERSION else []


class Numbers:
    """The runs of one storage; its publisher writes them."""

    def __init__(self, storage: Path) -> None:
        self._path = internals(storage) / _FILE
        self._storage = storage
        self._outbox = outbox_of(storage)
        self._runs = runs_of(storage)

    @property
    def origin(self) -> bytes:
        """Of the present run; the storage's own before there is one."""
        return self._runs[-1].origin if self._runs else origin_of(self._storage)

    def reach(self, first: int, after: int, dropped: int) -> bytes:
        """
        The origin of the numbers from *first* to before *after*, which may be published now.

        *dropped* are missing right before them. Raises StoreError where that can't be written.
        """
        try:
            run = self._present(first - dropped)
            if after > run.after:
                # What of those was counted, or published, before they were lost, is not again.
                run.dropped += min(dropped, max(0, first - run.after))
                run.after = after
                self._write()  # point: fleet-numbers
            return run.origin
        except OSError as error:
            raise translated(error, self._path, StoreError) from error

    def _present(self, first: int) -> Run:
        inode = self._outbox.stat().st_ino
        run = self._runs[-1] if self._runs else None
        if run is None:
            # The file is missing or damaged: what was published before nobody knows.
            is_new = not self._path.exists()
            run = Run(self._origin(is_first=is_new), inode, first, first)
        elif run.inode != inode or read_end(self._outbox).next < run.after:
            run = Run(self._origin(is_first=False), inode, first, first)
        else:
            return run
        self._runs = [*self._runs[1 - _MOST_RUNS :], run]
        self._write()
        return run

    def _origin(self, *, is_first: bool) -> bytes:
        origin = origin_of(self._storage)
        if is_first:
            return origin
        salt = secrets.token_bytes(16)
        return blake2b(origin + salt, digest_size=16, person=b"shmperf run").digest()

    def _write(self) -> None:
        aside = self._path.with_name(f".{_FILE}.new")
        aside.unlink(missing_ok=True)
        fd = open_private(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            os.write(fd, msgspec.msgpack.encode(_Runs(_VERSION, self._runs)))
        finally:
            os.close(fd)
        aside.replace(self._path)
