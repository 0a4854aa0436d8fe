"""
When lines of tools that keep all move into segments.

It goes in pieces, one a round of the cycle, so that rings are drained in between; what a piece
hands over is in the journal before the next one begins, see `shmperf.storage.archive`. A piece that
fails is told, and everything is as before it; a while later it is tried again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from shmperf.config.options import Options
from shmperf.errors import StoreError
from shmperf.storage.archive import Moved, Segments
from shmperf.storage.codecs import Codec, codec_named
from shmperf.storage.history import FileState
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

from .pace import Due

__all__ = ["Archiving"]

# After a failure, a full disk mostly.
_RETRY_S = 30.0
_LONGEST_REST_S = 2.0
_LOOK_S = 1.0
_BUSY_S = 0.25


class Archived(msgspec.Struct):
    """What a frame says of it."""

    segments: dict[str, Segments] = {}
    files: dict[str, FileState] = {}


class Archiving:
    """Moves lines, one tool after the other; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        disk: Disk,
        fault: Callable[[str, str, int], None],
        clock: Callable[[], float],
    ) -> None:
        """*fault* counts and tells what can't be done."""
        self._ledger = ledger
        self._disk = disk
        self._fault = fault
        self._clock = clock
        self._due = Due(clock)
        self._change = Archived()
        self._steps: Iterator[Moved | None] | None = None
        self._not_before_s = 0.0
        self._has_told = False
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.history = options.history
        self.limit_of = options.limit_of

    @property
    def is_behind(self) -> bool:
        """True while something is on its way."""
        return self._steps is not None

    def take_change(self) -> Archived:
        """What is to be journalled since it was last asked for."""
        change, self._change = self._change, Archived()
        return change

    def turn(self, is_calm: bool) -> Iterator[None]:
        """
        A piece of what is due; each time something is to be journalled, it yields.

        Rings that fill come first: where it is not *is_calm* it has its turn less often.
        """
        if self._due("choose", _LOOK_S):
            self._choose()
        if self._steps is not None and (is_calm or self._due("piece", _BUSY_S)):
            yield from self._piece()

    def _choose(self) -> None:
        """Begin with what is due, unless something is on its way."""
        if self.is_behind or self._disk.has_failed or self._disk.is_unavailable():
            return
        if self._clock() < self._not_before_s:
            return
        codec = self._codec()
        state = self._ledger.state
        for tool, file in state.files.items():
            segments = state.segments.get(tool, Segments())
            is_moved = segments.moved_bytes > 0 and segments.inode == file.inode
            left = file.lines - (segments.moved_lines if is_moved else 0)
            is_full = left >= self.history.segment_lines and self.limit_of(tool) < 0
            if is_moved or (is_full and codec is not None):
                most = self.history.segment_lines
                kept = codec if self.limit_of(tool) < 0 else None
                self._steps = self._disk.steps(self._disk.archive.move(tool, segments, kept, most))
                return

    def _piece(self) -> Iterator[None]:
        """Do a piece; when it has noted something for the journal, it yields."""
        if self._steps is None:
            return
        try:
            moved = next(self._steps, self)
        except StoreError as error:
            self._fault("segment_failed", f"lines stay in their file: {error}", 1)
            self.give_up()
            self._not_before_s = self._clock() + _RETRY_S
            return
        if moved is self:
            self._steps = None
        elif isinstance(moved, Moved):
            self._note(moved)
            yield

    def rest(self) -> Iterator[None]:
        """At the end: what is due, for a moment."""
        end_s = self._clock() + _LONGEST_REST_S
        self._choose()
        while self.is_behind and self._clock() < end_s:
            yield from self._piece()
            self._choose()
        self.give_up()

    def give_up(self) -> None:
        """Leave what is on its way as it is; nothing of it is lost."""
        self._steps = None

    def _note(self, moved: Moved) -> None:
        self._change.segments[moved.tool] = moved.segments
        if moved.file is not None:
            self._change.files[moved.tool] = moved.file  # point: segment-noted

    def _codec(self) -> Codec | None:
        codec = codec_named(self.history.compress)
        if codec is not None and codec.suffix == ".gz" and self.history.compress == "zstd":
            self._tell_of_gzip()
        return codec

    def _tell_of_gzip(self) -> None:
        if not self._has_told:
            self._has_told = True
            text = "zstd is missing here, so segments are compressed with gzip"
            self._fault("no_zstd", f"{text}; run: pip install backports.zstd", 1)
