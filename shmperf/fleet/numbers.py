"""
Which numbers of an outbox mean which lines, for ever: runs of numbers that never began anew.

    <storage>/.shmperf/fleet-numbers    msgpack [version, [run, …]], the last one is the present one

The numbers of an outbox never go back while it lies where it is. They do where its directory was
deleted, or the storage is a copy, or was put back from a backup: then a number that was published
comes again, for another line, and whoever stores each number once would throw that line away. So
what goes over the wire is the origin of a *run*. The first run of a storage has the storage's own;
when the directory is another one (its inode), when the outbox ends before what was published, or
when more was published than this file knows of (it was put back, too; the broker was told, see
`witness`), a new run begins, with an origin made of the storage's and of random bytes: a copy and
its original, or two that were put back from the same backup, don't share one. A run that is not the
storage's first counts from 0 on the wire: of what was before it nothing is missing in it.

    killed after …                      the next publisher
    a run written, nothing published    goes on with it
    lines published, not acknowledged   publishes them again, in the same run
    a storage copied or put back        publishes what it has not acknowledged in a run of its own:
                                        those few lines twice

Before anything with a higher number is published, the lines are on the disk, then this file, and
then the broker is told: after a power failure none of them is behind what whoever stores has. A
file that can't be read begins a new run: better a line twice, by another origin, than one thrown
away.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shmperf.errors import StoreError
from shmperf.files import internals, open_private, read_private, sync_directory, translated
from shmperf.storage.origin import origin_of
from shmperf.storage.outbox import outbox_of, read_end, sync

from .witness import Witness

__all__ = ["Numbers", "Run", "runs_of"]

_FILE = "fleet-numbers"
_VERSION = 2
_MOST_BYTES, _MOST_RUNS = 64 << 10, 64
_NUMBER = Meta(ge=0, le=1 << 62)


class Run(msgspec.Struct, array_like=True):
    """
    Numbers of one meaning: *origin* names them on the wire.

    Published were those from *first* to before *after*, or are being published, but for *dropped*
    lines among them that were lost before they could be. On the wire *base* is 0.
    """

    origin: Annotated[bytes, Meta(min_length=16, max_length=16)]
    inode: int = 0
    first: Annotated[int, _NUMBER] = 0
    after: Annotated[int, _NUMBER] = 0
    dropped: Annotated[int, _NUMBER] = 0
    base: Annotated[int, _NUMBER] = 0


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

    def __init__(self, storage: Path, witness: Witness) -> None:
        """Nothing is asked of *witness* yet."""
        self._path = internals(storage) / _FILE
        self._storage = storage
        self._outbox = outbox_of(storage)
        self._witness = witness
        self._runs = runs_of(storage)
        # Looked at before the collector has had time to get beyond what was published: once it
        # has, an outbox that was put back looks like any other.
        self._is_over = False
        with suppress(OSError):
            self._is_over = self._went_back()

    @property
    def origin(self) -> bytes:
        """Of the present run; the storage's own before there is one."""
        return self._runs[-1].origin if self._runs else origin_of(self._storage)

    def reach(self, first: int, after: int, dropped: int) -> Run:
        """
        The run of the numbers from *first* to before *after*, which may be published now.

        *dropped* are missing right before them. Raises StoreError where that can't be written, and
        what the engine raises.
        """
        try:
            run = self._present(first - dropped)
            self._extend(run, first, after, dropped)
            if not self._witness.tell(run.origin, after):
                # Somebody else gave out the same numbers, just now.
                self._runs[-1] = run
                run = self._begin(first - dropped, is_first=False)
                self._extend(run, first, after, dropped)
                self._witness.tell(run.origin, after)
            return run  # point: fleet-told
        except OSError as error:
            raise translated(error, self._path, StoreError) from error

    def _extend(self, run: Run, first: int, after: int, dropped: int) -> None:
        """Let the present run, *run*, reach so far, on the disk."""
        if after <= run.after:
            return
        sync(self._outbox, first)
        # What of those was counted, or published, before they were lost, is not again.
        missed = min(dropped, max(0, first - run.after))
        self._runs[-1] = msgspec.structs.replace(run, after=after, dropped=run.dropped + missed)
        self._write()  # point: fleet-numbers

    def _present(self, first: int) -> Run:
        if not self._runs:
            # The file is missing or damaged: what was published before nobody knows.
            run = self._begin(first, is_first=not self._path.exists())
        elif self._is_over or self._went_back() or first < self._runs[-1].base:
            run = self._begin(first, is_first=False)
        else:
            run = self._runs[-1]
        if not self._witness.agrees(run.origin, run.after):
            run = self._begin(first, is_first=False)
        return run

    def _went_back(self) -> bool:
        """Whether the outbox is another one than that of the present run, or ends before it."""
        if not self._runs:
            return False
        run = self._runs[-1]
        try:
            return (
                run.inode != self._outbox.stat().st_ino or read_end(self._outbox).next < run.after
            )
        except FileNotFoundError:
            return True

    def _begin(self, first: int, *, is_first: bool) -> Run:
        inode = self._outbox.stat().st_ino
        base = 0 if is_first else first
        run = Run(self._origin(is_first=is_first), inode, first, first, base=base)
        self._runs = [*self._runs[1 - _MOST_RUNS :], run]
        self._is_over = False
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
            os.fsync(fd)
        finally:
            os.close(fd)
        aside.replace(self._path)
        sync_directory(self._path.parent)
