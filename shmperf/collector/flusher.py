"""
When and in which order kept calls go to their files.

New and compacted files are journalled before a byte is appended to them, and what was appended is
journalled after: a kill between the two leaves a file that the next collector cuts back.
"""

from __future__ import annotations

from collections.abc import Callable

from shmperf.config.options import Storage
from shmperf.shm.record import Call
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

from .ingest import Intake

__all__ = ["Flusher"]


class Flusher:
    """Writes what the ledger keeps; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        intake: Intake,
        disk: Disk,
        commit: Callable[[], None],
        fault: Callable[[str, str, int], None],
    ) -> None:
        """*commit* journals the frame so far; *fault* counts and tells what could not be kept."""
        self._ledger = ledger
        self._intake = intake
        self._disk = disk
        self._commit = commit
        self._fault = fault

    def flush(self, storage: Storage, *, at_once: bool) -> None:
        """Write kept calls that are settled: if there are enough of them, or *at_once*."""
        waiting = self._ledger.state.kept
        count = sum(map(len, waiting.values()))
        if not (at_once or not storage.async_save or count >= storage.batch_size):
            return
        if self._disk.is_unavailable():
            return
        settled = {tool: self._intake.settled(calls) for tool, calls in waiting.items()}
        ready = {tool: calls for tool, calls in settled.items() if calls}
        self._write(self._within(storage.max_bytes, ready))

    def compact(self) -> None:
        """Cut every file to exactly the newest of its tool."""
        limits = {tool: self._limit(tool) for tool in self._ledger.state.files}
        compacted = self._disk.compact(limits)
        if compacted:
            self._intake.frame.files.update(compacted)  # point: flush-compacted
            self._commit()

    def _write(self, ready: dict[str, list[Call]]) -> None:
        if not ready:
            return
        if self._disk.has_failed:
            # A write that was given up may have gone through since: back to what is listed.
            self._disk.restore_files(self._ledger.state.files)
        limits = {tool: self._limit(tool) for tool in ready}
        # point below: flush-prepare
        prepared = self._disk.prepare({tool: len(c) for tool, c in ready.items()}, limits)
        if prepared is None:
            return
        self._intake.frame.files.update(prepared)  # point: flush-prepared
        self._commit()
        ready = {tool: calls for tool, calls in ready.items() if tool in self._ledger.state.files}
        appended = self._disk.append_calls(ready, limits)  # point: flush-append
        if appended is None:
            return
        self._intake.frame.files.update(appended)  # point: flush-appended
        written = {tool: [call.id for call in ready[tool]] for tool in appended}
        self._intake.frame.written.update(written)  # point: flush-written
        self._commit()

    def _within(self, max_bytes: int, ready: dict[str, list[Call]]) -> dict[str, list[Call]]:
        """*ready* without the tools that keep all, once their files fill what they may."""
        unlimited = [tool for tool in ready if self._limit(tool) < 0]
        files = self._ledger.state.files
        used = sum(file.size for tool, file in files.items() if self._limit(tool) < 0)
        if not unlimited or used < max_bytes:
            return ready
        text = f"tools with limit -1 fill storage.max_bytes ({used:,} bytes); calls are not kept"
        self._fault("max_bytes_reached", text, sum(len(ready[tool]) for tool in unlimited))
        for tool in unlimited:
            self._intake.frame.written[tool] = [call.id for call in ready.pop(tool)]
        return ready

    def _limit(self, tool: str) -> int:
        return self._ledger.options.limit_of(tool)
