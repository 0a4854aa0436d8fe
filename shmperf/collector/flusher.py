"""
When and in which order kept calls go to their files.

New and compacted files are journalled before a byte is appended to them, and what was appended is
journalled after: a kill between the two leaves a file that the next collector cuts back. So what
writes here goes in steps: each ``yield`` hands over to the cycle, which journals what has been
noted by then, and only afterwards the next line runs.

Many tools are many files: a flush writes a piece of what is due and leaves the rest for the next
one, so that rings are drained in between, however many files there are. Each tool that is due has a
number, and pieces are taken in their order: whoever waits for a flush waits for a number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from itertools import islice
from operator import itemgetter

import msgspec

from shmperf.config.options import Options
from shmperf.shm.record import Call
from shmperf.storage.history import FileState
from shmperf.storage.outbox import OutboxChange
from shmperf.storage.segments import Segments
from shmperf.storage.state import Ledger, used_bytes
from shmperf.storage.writer import Disk

from .copying import Copying
from .past import listed_in
from .telling import Telling

__all__ = ["Filed", "Flusher"]

# So many batches wait in memory before all are written: of 250 tools with the default limit
# about ten megabytes.
_MOST_BATCHES = 250
# As many files are written in some hundredths of a second.
_PIECE = 256
# With ``drop_oldest``: how far files may be beyond ``storage.max_bytes`` until room is made.
_MOST_AHEAD_BYTES = 64 << 20


class Filed(msgspec.Struct):
    """What a frame says of files: how they are now, which calls are in them."""

    files: dict[str, FileState] = {}
    segments: dict[str, Segments] = {}
    written: dict[str, list[int]] = {}
    outbox: OutboxChange | None = None
    erased: bool = False
    was_cut: list[str] = []


class Flusher:
    """Writes what the ledger keeps; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        disk: Disk,
        settled: Callable[[list[Call]], list[Call]],
        fault: Callable[[str, str, int], None],
    ) -> None:
        """*settled* picks the calls that may go; *fault* counts and tells what is not kept."""
        self._ledger = ledger
        self._disk = disk
        self._settled = settled
        self._fault = fault
        self._change = Filed()
        # Tools that are to be written, each with its number.
        self._due: dict[str, int] = {}
        self._number = 0
        self._copying = Copying(ledger, disk, fault)

        def note(change: OutboxChange) -> None:
            self._change.outbox = change

        self.telling = Telling(ledger, disk, self._restore, note, fault)
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.storage = options.storage
        self.drops_oldest = options.history.when_full == "drop_oldest"
        self.telling.most_bytes = options.storage.outbox_bytes
        self.limit_of = options.limit_of

    def take_change(self) -> Filed:
        """What is to be journalled since it was last asked for."""
        change, self._change = self._change, Filed()
        return change

    @property
    def is_behind(self) -> bool:
        """True while a flush has not come to all that was due."""
        is_written = not self._due and not self._copying.is_behind
        return not is_written or self.is_cutting or self.telling.is_behind

    @property
    def is_cutting(self) -> bool:
        """True while files hold what a run's clean-up takes out of them, and can be written."""
        return bool(self._ledger.state.cutting) and not self._disk.is_unavailable()

    def choose(self, *, at_once: bool) -> int:
        """
        Make kept calls due: of tools that have enough of them, or of all tools *at_once*.

        A number that `has_reached` is true of once all that is due now has been written, or can't
        be.
        """
        for tool in self._worth_writing(at_once=at_once or not self.storage.async_save):
            if tool not in self._due:
                self._number += 1
                self._due[tool] = self._number
        if at_once and self._copying.is_stale:
            self._number += 1
            self._copying.make_due(self._number)
        self.telling.choose()
        return self._number

    def has_reached(self, number: int) -> bool:
        """True once everything that was due at *number* has had its turn."""
        is_written = next(iter(self._due.values()), number + 1) > number
        is_told = not self.telling.is_behind
        return is_written and is_told and self._copying.has_reached(number)

    def give_up(self) -> None:
        """Nothing is due any more: storage is unavailable, which whoever waits is told."""
        self._due.clear()
        self._copying.give_up()
        self.telling.give_up()

    def left(self) -> int:
        """How many calls are kept and not in their files."""
        return sum(map(len, self._ledger.state.kept.values()))

    def flush(self) -> Iterator[None]:
        """Write a piece of what is due, those of its calls that are settled."""
        if not (self._due or self._copying.is_behind):
            return
        if self._disk.is_unavailable():
            self.give_up()
            return
        piece = dict(islice(self._due.items(), _PIECE))
        waiting = self._ledger.state.kept
        settled = {tool: self._settled(waiting.get(tool, [])) for tool in piece}
        ready = self._within_bounds({tool: calls for tool, calls in settled.items() if calls})
        self._due = dict(islice(self._due.items(), len(piece), None))
        if ready:
            yield from self._write(ready, piece)
        if not self._copying.has_reached(next(iter(self._due.values()), self._number)):
            self._copying.step()

    def _worth_writing(self, *, at_once: bool) -> dict[str, list[Call]]:
        """
        What is worth a write: tools with a batch, or with very many calls waiting, in memory, all.

        A file is opened for many lines, then, and what newer calls push out was never written: the
        journal has it. So of a tool that keeps no more than a batch the interval alone is awaited:
        its next batch would push out all of this one. Unless somebody reads the outbox, which
        would miss what is pushed out.
        """
        waiting, batch = self._ledger.state.kept, self.storage.batch_size
        count = sum(map(len, waiting.values()))
        if at_once or count >= batch * _MOST_BATCHES:
            return waiting
        if count < batch and not self._disk.outbox.is_wanted:
            return {}
        return {tool: calls for tool, calls in waiting.items() if self._is_batch(tool, len(calls))}

    def _is_batch(self, tool: str, count: int) -> bool:
        limit, batch = self.limit_of(tool), self.storage.batch_size
        if 0 <= limit <= batch:
            return count >= limit and self._disk.outbox.is_wanted
        return count >= batch

    def compact(self) -> Iterator[None]:
        """Cut every file to exactly the newest of its tool."""
        limits = {tool: self.limit_of(tool) for tool in self._ledger.state.files}
        compacted = self._disk.compact(limits)
        if compacted:
            self._change.files.update(compacted)  # point: flush-compacted
            yield

    def cut(self) -> Iterator[None]:
        """Take a piece of what a run's clean-up has listed out of its files."""
        if not self.is_cutting:
            return
        if self._disk.has_failed:
            yield from self._restore()
        # point below: cut-begin
        done = self._disk.cut(dict(islice(self._ledger.state.cutting.items(), _PIECE)))
        if done is not None:
            self._change.files.update(done.files)
            self._change.was_cut = sorted(done.reached)  # point: cut-done
            yield

    def erase(self) -> Iterator[None]:
        """Delete what a cleanup has listed, one before a restart too."""
        state = self._ledger.state
        is_due = state.erasing or state.erasing_segments
        if is_due and self._disk.erase(state.erasing, state.erasing_segments):
            self._change.erased = True  # point: cleanup-erased
            yield
        self._copying.erase()

    def _write(self, ready: dict[str, list[Call]], piece: dict[str, int]) -> Iterator[None]:
        if self._disk.has_failed:
            yield from self._restore()
        limits = {tool: self.limit_of(tool) for tool in ready}
        # point below: flush-prepare
        counts = {tool: len(calls) for tool, calls in ready.items()}
        prepared = self._disk.prepare(counts, limits, self.storage.outbox_bytes)
        if prepared is None:
            return
        self._put_back(ready.keys() - prepared.reached, piece)
        self._change.files.update(prepared.files)
        self._change.outbox = prepared.outbox  # point: flush-prepared
        yield
        listed = self._ledger.state.files.keys() & prepared.reached
        ready = {tool: calls for tool, calls in ready.items() if tool in listed}
        appended = self._disk.append_calls(ready, limits)  # point: flush-append
        if appended is None:
            return
        self._put_back(ready.keys() - appended.reached, piece)
        self._change.files.update(appended.files)
        self._change.outbox = appended.outbox  # point: flush-appended
        written = {tool: [call.id for call in ready[tool]] for tool in appended.files}
        self._change.written.update(written)  # point: flush-written
        yield
        if appended.outbox is not None:
            self._disk.commit_outbox()  # point: flush-committed
            self._tell_of_outbox()

    def _restore(self) -> Iterator[None]:
        """A write that was given up may have gone through since: back to what is listed."""
        restored = self._disk.restore_files(listed_in(self._ledger.state))
        if restored is not None:
            self._change.outbox = restored.outbox
            self._change.segments.update(restored.segments)
        yield

    def _put_back(self, tools: AbstractSet[str], piece: dict[str, int]) -> None:
        """*tools* of *piece* that there was no time for are due before all others."""
        if not tools:
            return
        back = {tool: number for tool, number in piece.items() if tool in tools}
        others = {tool: number for tool, number in self._due.items() if tool not in back}
        self._due = dict(sorted((back | others).items(), key=itemgetter(1)))

    def _tell_of_outbox(self) -> None:
        problem = self._disk.outbox.problem
        if problem:
            self._fault("outbox_failed", f"lines are missing in the outbox: {problem}", 1)

    def _within_bounds(self, ready: dict[str, list[Call]]) -> dict[str, list[Call]]:
        """*ready* without the tools that keep all, once their files fill what they may."""
        unlimited = [tool for tool in ready if self.limit_of(tool) < 0]
        if not unlimited:
            return ready
        used, most = used_bytes(self._ledger.state, self.limit_of), self.storage.max_bytes
        if self.drops_oldest:
            # Room is being made for these: the oldest go, also where a burst comes faster.
            most += max(most // 10, _MOST_AHEAD_BYTES)
        if used < most:
            return ready
        text = f"tools with limit -1 fill storage.max_bytes ({used:,} bytes); calls are not kept"
        self._fault("max_bytes_reached", text, sum(len(ready[tool]) for tool in unlimited))
        for tool in unlimited:
            self._change.written[tool] = [call.id for call in ready.pop(tool)]
        return ready
