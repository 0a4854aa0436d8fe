"""
When and in which order kept calls go to their files.

New and compacted files are journalled before a byte is appended to them, and what was appended is
journalled after: a kill between the two leaves a file that the next collector cuts back. So what
writes here goes in steps: each ``yield`` hands over to the cycle, which journals what has been
noted by then, and only afterwards the next line runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from shmperf.config.options import Options
from shmperf.shm.record import Call
from shmperf.storage.history import FileState
from shmperf.storage.outbox import OutboxChange
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

__all__ = ["Filed", "Flusher"]

# So many batches wait in memory before all are written.
_MOST_BATCHES = 100


class Filed(msgspec.Struct):
    """What a frame says of files: how they are now, which calls are in them."""

    files: dict[str, FileState] = {}
    written: dict[str, list[int]] = {}
    outbox: OutboxChange | None = None
    erased: bool = False


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
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.storage = options.storage
        self.limit_of = options.limit_of

    def take_change(self) -> Filed:
        """What is to be journalled since it was last asked for."""
        change, self._change = self._change, Filed()
        return change

    def flush(self, *, at_once: bool) -> Iterator[None]:
        """Write the settled calls of tools that have enough of them, or of all tools *at_once*."""
        waiting = self._due(at_once=at_once or not self.storage.async_save)
        if not waiting or self._disk.is_unavailable():
            return
        settled = {tool: self._settled(calls) for tool, calls in waiting.items()}
        ready = self._within_bounds({tool: calls for tool, calls in settled.items() if calls})
        if ready:
            yield from self._write(ready)

    def _due(self, *, at_once: bool) -> dict[str, list[Call]]:
        """
        What is worth a write: tools with a batch, or as many calls as are kept of them.

        A file is opened for many lines, then, and what newer calls push out was never written: the
        journal has it. With very many calls waiting, in memory, all are.
        """
        waiting, batch = self._ledger.state.kept, self.storage.batch_size
        count = sum(map(len, waiting.values()))
        if at_once or count >= batch * _MOST_BATCHES:
            return waiting
        if count < batch:
            return {}
        return {tool: calls for tool, calls in waiting.items() if self._is_batch(tool, len(calls))}

    def _is_batch(self, tool: str, count: int) -> bool:
        limit = self.limit_of(tool)
        return count >= (
            self.storage.batch_size if limit < 0 else min(self.storage.batch_size, limit)
        )

    def compact(self) -> Iterator[None]:
        """Cut every file to exactly the newest of its tool."""
        limits = {tool: self.limit_of(tool) for tool in self._ledger.state.files}
        compacted = self._disk.compact(limits)
        if compacted:
            self._change.files.update(compacted)  # point: flush-compacted
            yield

    def erase(self) -> Iterator[None]:
        """Delete what a cleanup has listed, one before a restart too."""
        if self._ledger.state.erasing and self._disk.erase(self._ledger.state.erasing):
            self._change.erased = True  # point: cleanup-erased
            yield

    def _write(self, ready: dict[str, list[Call]]) -> Iterator[None]:
        if self._disk.has_failed:
            # A write that was given up may have gone through since: back to what is listed.
            state = self._ledger.state
            self._change.outbox = self._disk.restore_files(state.files, state.outbox)
            yield
        limits = {tool: self.limit_of(tool) for tool in ready}
        # point below: flush-prepare
        counts = {tool: len(calls) for tool, calls in ready.items()}
        prepared = self._disk.prepare(counts, limits, self.storage.outbox_bytes)
        if prepared is None:
            return
        self._change.files.update(prepared.files)
        self._change.outbox = prepared.outbox  # point: flush-prepared
        yield
        ready = {tool: calls for tool, calls in ready.items() if tool in self._ledger.state.files}
        appended = self._disk.append_calls(ready, limits)  # point: flush-append
        if appended is None:
            return
        self._change.files.update(appended.files)
        self._change.outbox = appended.outbox  # point: flush-appended
        written = {tool: [call.id for call in ready[tool]] for tool in appended.files}
        self._change.written.update(written)  # point: flush-written
        yield
        if appended.outbox is not None:
            self._disk.commit_outbox()  # point: flush-committed
            self._tell_of_outbox()

    def _tell_of_outbox(self) -> None:
        problem = self._disk.outbox_problem
        if problem:
            self._fault("outbox_failed", f"lines are missing in the outbox: {problem}", 1)

    def _within_bounds(self, ready: dict[str, list[Call]]) -> dict[str, list[Call]]:
        """*ready* without the tools that keep all, once their files fill what they may."""
        unlimited = [tool for tool in ready if self.limit_of(tool) < 0]
        files = self._ledger.state.files
        used = sum(file.size for tool, file in files.items() if self.limit_of(tool) < 0)
        most = self.storage.max_bytes
        if not unlimited or used < most:
            return ready
        text = f"tools with limit -1 fill storage.max_bytes ({used:,} bytes); calls are not kept"
        self._fault("max_bytes_reached", text, sum(len(ready[tool]) for tool in unlimited))
        for tool in unlimited:
            self._change.written[tool] = [call.id for call in ready.pop(tool)]
        return ready
