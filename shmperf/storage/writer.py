"""
What is written: journal, history and outbox, behind a bound on how long anybody waits for them.

All of it is done by one thread, which the collector waits for only as long as there is progress.
Work over many files is not done whole: what takes calls to their files comes to as many of them as
a short while allows, and says so. When a write fails or does not come back, storage counts as
unavailable: the collector goes on in memory, and after a pause the next write is a whole snapshot,
which replaces whatever half-finished things are on the disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from shmperf.analysis.exemplars import Exemplar
from shmperf.errors import StoreError
from shmperf.files import internals, reason_of
from shmperf.shm.record import Call

from . import exemplarfile
from .archive import Archive
from .consumer import Progress, consumers
from .history import FileState, History
from .journal import Journal, Recovered
from .outbox import Outbox, OutboxChange, OutboxState, call_lines
from .pace import Pace
from .segments import Segments
from .upgrade import upgraded
from .writerthread import LONGEST_WAIT_S, WriterThread

__all__ = ["Disk", "Filed", "Listed", "Restored"]

T = TypeVar("T")


class _Step(NamedTuple, Generic[T]):
    """What a step of some work hands over; nothing at its end, which may have a reason."""

    values: Sequence[T] = ()
    reason: str = ""


class Listed(NamedTuple):
    """What a journal lists of files: history, outbox, segments, and segments to be erased."""

    files: Mapping[str, FileState]
    outbox: OutboxState
    segments: Mapping[str, Segments]
    erasing: Mapping[str, Segments]


class Restored(NamedTuple):
    """What of the outbox and of segments is otherwise than listed."""

    outbox: OutboxChange
    segments: dict[str, Segments]


class Filed(NamedTuple):
    """Files that changed, what changed of the outbox, and the tools that there was time for."""

    files: dict[str, FileState]
    outbox: OutboxChange | None = None
    reached: frozenset[str] = frozenset()


class Disk:
    """
    The storage directory, as the collector's thread sees it.

    Anybody may ask the ``outbox``, and the ``journal`` for its mark, what was so at the last write;
    the rest of them is the thread's.
    """

    def __init__(
        self,
        path: Path,
        *,
        longest_wait_s: float = LONGEST_WAIT_S,
        clock: Callable[[], float] = time.monotonic,
        renew: Callable[[], None] = lambda: None,
    ) -> None:
        """*renew* is called before a snapshot; it raises StoreError where all that is not ours."""
        self.path = path
        self._pace = Pace(clock)
        self.journal = Journal(internals(path))
        self._history = History(path, self._pace)
        self.archive = Archive(path, self._history, self._pace)
        self.outbox = Outbox(path)
        self._renew = renew
        self._needs_snapshot = True
        # Files may hold more than the journal lists, until they are restored.
        self.has_failed = False
        self.thread = WriterThread(self._pace, clock, longest_wait_s, self._note_failure)
        self._do = self.thread.do

    @property
    def reason(self) -> str:
        """Why storage is unavailable, or was until the next write; empty when it is not."""
        return self.thread.reason

    def recover(self) -> Recovered | None:
        """What the journal holds, in today's form; None when storage is unavailable."""
        return self._do(lambda: upgraded(self.journal.open()))

    def drop_older(self) -> None:
        """Delete the journal of an older version that was kept beside, if there is one."""
        self._do(self.journal.drop_older)

    def restore_files(self, listed: Listed) -> Restored | None:
        """
        Cut history files, segments and the outbox back to what the journal lists.

        None when storage is unavailable.
        """

        def restore() -> Restored:
            self._history.restore(dict(listed.files))
            segments = self.archive.restore(listed.segments, listed.erasing)
            return Restored(self.outbox.restore(listed.outbox), segments)

        change = self._do(restore)
        self.has_failed = change is None
        return change

    def append(self, payload: bytes, snapshot: Callable[[], bytes]) -> None:
        """Journal a frame; after a failure, and when the journal has grown, a snapshot instead."""
        if self._needs_snapshot or self.journal.wants_snapshot:
            self.snapshot(snapshot)
        elif self._do(lambda: self.journal.append(payload)) is None and self.reason:
            self._needs_snapshot = True

    def snapshot(self, encode: Callable[[], bytes]) -> None:
        """Replace the journal by a snapshot of the whole state."""
        if self.is_unavailable():
            return
        payload = encode()

        def replace() -> None:
            # A directory that was deleted, and is made anew by this, may be another's by now.
            self._renew()
            self.journal.replace(payload)

        self._do(replace)
        self._needs_snapshot = bool(self.reason)  # point: disk-snapshot

    def prepare(
        self, counts: Mapping[str, int], limits: Mapping[str, int], outbox_bytes: int
    ) -> Filed | None:
        """
        Files fit to take so many further lines: created, adopted or compacted; their states.

        Of as many tools as there is time for, as in `append_calls`; the others come another time.
        """

        def prepare() -> Filed:
            files = self._history.prepare_all(dict(counts), dict(limits))
            reached = self._pace.reached(counts)
            return Filed(files, self.outbox.prepare(outbox_bytes), reached)

        return self._do(prepare)

    def append_calls(
        self, calls: Mapping[str, list[Call]], limits: Mapping[str, int]
    ) -> Filed | None:
        """Append *calls* to their files, and to the outbox where that is wanted; their states."""

        def append() -> Filed:
            copies: list[bytes] = []
            copy = copies.append if self.outbox.is_wanted else None
            files = self._history.append_all(dict(calls), dict(limits), copy)
            reached = self._pace.reached(calls)
            if not copies:
                return Filed(files, None, reached)
            # point below: outbox-lines
            return Filed(files, self.outbox.append(call_lines(b"".join(copies))), reached)

        return self._do(append)

    def commit_outbox(self) -> None:
        """Let readers of the outbox go as far as the journal does."""
        if self.outbox.is_wanted and not self.has_failed:
            self._do(self.outbox.commit)

    def consumers(self) -> Mapping[str, Progress]:
        """Who reads the outbox, and how far; nobody when storage is unavailable."""
        return self._do(lambda: consumers(self.path)) or {}

    def compact(self, limits: Mapping[str, int]) -> dict[str, FileState] | None:
        """Cut every file to its tool's newest calls; the states of those that changed."""
        return self._do(lambda: self._history.compact_all(dict(limits)), wait_s=60.0)

    def cut(self, before_ns: Mapping[str, int]) -> Filed | None:
        """
        Take out of each tool's file the lines of calls that ended before a time; their states.

        Of as many tools as there is time for, as in `append_calls`.
        """

        def cut() -> Filed:
            files = self._history.cut_all(dict(before_ns))
            return Filed(files, None, self._pace.reached(before_ns))

        return self._do(cut)

    def erase(self, files: Mapping[str, FileState], segments: Mapping[str, Segments]) -> bool:
        """Delete the files and segments that are listed so; False when storage is unavailable."""

        def erase() -> bool:
            self._history.erase(dict(files))
            self.archive.erase(dict(segments))
            return True

        return bool(self._do(erase))

    def copy_exemplars(self, exemplars: Iterable[tuple[Exemplar, list[str]]]) -> Iterator[None]:
        """Replace the file of *exemplars*, on which nothing depends, a step at a time; `steps`."""
        return self.steps(exemplarfile.renew(self.path, exemplars))

    def steps(self, work: Generator[T]) -> Iterator[T]:
        """
        Do *work* in the thread, a step at a time; what each hands over.

        StoreError says why it can't go on. It ends early when storage is unavailable; whoever ends
        it before that has the thread end it.
        """

        def step() -> _Step[T]:
            try:
                return _Step([next(work)])
            except StopIteration:
                return _Step()
            except OSError as error:
                return _Step(reason=reason_of(error))

        is_over = False
        try:
            while (found := self._do(step)) is not None:
                is_over = not found.values
                if found.reason:
                    raise StoreError(found.reason)
                if is_over:
                    return
                yield from found.values
        finally:
            if not is_over:
                self.thread.later(work.close)

    def is_unavailable(self) -> bool:
        """True while a write is stuck, or the pause after a failure is not over."""
        return self.thread.is_unavailable()

    def wait_for_return(self, longest_s: float) -> None:
        """Wait for a write that is stuck, bounded; then the next work is tried without a pause."""
        self.thread.wait_for_return(longest_s)

    def close(self) -> None:
        """End the thread once it has done its work; a stuck one is left behind."""
        if self.thread.end():
            self.journal.close()

    def _note_failure(self) -> None:
        self.has_failed = True
        self._needs_snapshot = True
