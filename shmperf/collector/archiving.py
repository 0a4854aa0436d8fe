"""
When lines of tools that keep all move into segments, and when what is old goes.

It goes in pieces, one a round of the cycle, so that rings are drained in between; what a piece
hands over is in the journal before the next one begins, see `shmperf.storage.archive`. A piece that
fails is told, and everything is as before it; a while later it is tried again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from typing import TypeAlias

import msgspec

from shmperf.config.options import Options
from shmperf.errors import StoreError
from shmperf.storage.codecs import Codec, codec_named
from shmperf.storage.history import FileState
from shmperf.storage.retention import cutoff_of
from shmperf.storage.segments import Moved, Segments
from shmperf.storage.state import Ledger, used_bytes
from shmperf.storage.writer import Disk

from .pace import Due

__all__ = ["Archiving"]

# After a failure, a full disk mostly.
_RETRY_S = 30.0
_LONGEST_REST_S = 2.0
_LOOK_S = 1.0
_BUSY_S = 0.25
_RETENTION_S = 600.0
# Of a file without segments, the part that goes at a time.
_PARTS = 8

_Work: TypeAlias = Generator[Moved | None]


class Archived(msgspec.Struct):
    """What a frame says of it."""

    segments: dict[str, Segments] = {}
    files: dict[str, FileState] = {}


class Archiving:
    """Moves lines and lets them go, one tool after the other; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        disk: Disk,
        fault: Callable[[str, str, int], None],
        clock: Callable[[], float],
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """*fault* counts and tells what can't be done."""
        self._ledger = ledger
        self._disk = disk
        self._fault = fault
        self._clock = clock
        self._wall_ns = wall_ns
        self._due = Due(clock)
        self._change = Archived()
        self._steps: Iterator[Moved | None] | None = None
        self._not_before_s = 0.0
        self._has_told = False
        # What is on its way lets go of lines for others, and more may be due after it.
        self._makes_room = self._is_eager = False
        self.configure(ledger.options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.history = options.history
        self.most_bytes = options.storage.max_bytes
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
        if self._due("choose", _LOOK_S) or self._is_eager:
            self._choose()
        if self._steps is not None and (is_calm or self._due("piece", _BUSY_S)):
            yield from self._piece()

    def _choose(self) -> None:
        """Begin with what is due, unless something is on its way."""
        if self.is_behind or self._disk.has_failed or self._disk.is_unavailable():
            return
        if self._clock() < self._not_before_s:
            return
        work = self._moving() or self._taking_back()
        self._makes_room = False
        if work is None:
            work = self._making_room()
            self._makes_room = work is not None
        work = work or self._expiring()
        self._is_eager = False
        if work is not None:
            self._steps = self._disk.steps(work)

    def _moving(self) -> _Work | None:
        """Lines of a file that has enough of them, or that are in a segment already."""
        state, most = self._ledger.state, self.history.segment_lines
        for tool, segments in state.segments.items():
            file = state.files.get(tool)
            if segments.moved_bytes and file is not None and segments.inode == file.inode:
                return self._disk.archive.move(tool, segments, None, most)
        for tool, file in state.files.items():
            if file.lines >= most and self.limit_of(tool) < 0:
                codec = self._codec()
                if codec is None:
                    return None
                return self._disk.archive.move(tool, self._segments_of(tool), codec, most)
        return None

    def _taking_back(self) -> _Work | None:
        """Segments of a tool that has got a limit since."""
        state = self._ledger.state
        for tool, segments in state.segments.items():
            limit = self.limit_of(tool)
            if limit >= 0 and segments.size and tool in state.files:
                return self._disk.archive.take_back(tool, segments, limit)
        return None

    def _making_room(self) -> _Work | None:
        """The oldest segment, where tools that keep all fill their room; without one, old lines."""
        state = self._ledger.state
        if self.history.when_full != "drop_oldest":
            return None
        if used_bytes(state, self.limit_of) < self.most_bytes:
            return None
        archive = self._disk.archive
        if any(segments.size for segments in state.segments.values()):
            return archive.let_go(archive.oldest, state.segments)
        sizes = {tool: f.size for tool, f in state.files.items() if self.limit_of(tool) < 0}
        tool = max(sizes, key=sizes.__getitem__)
        lines = max(1, state.files[tool].lines // _PARTS)
        return archive.drop_head(tool, self._segments_of(tool), lines)

    def _expiring(self) -> _Work | None:
        """Everything that is older than it is to stay."""
        cutoff = cutoff_of(self.history.retention_days, self._wall_ns())
        if cutoff is None or not self._due("retention", _RETENTION_S):
            return None
        return self._disk.archive.expire(cutoff, self._ledger.state.segments)

    def _segments_of(self, tool: str) -> Segments:
        return self._ledger.state.segments.get(tool, Segments())

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
            self._steps, self._is_eager = None, True
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
        if moved.tool in self._ledger.state.segments or moved.segments != Segments():
            self._change.segments[moved.tool] = moved.segments
        if moved.gone and self._makes_room:
            text = f"the oldest lines are let go: {moved.gone:,} of {moved.tool!r}"
            self._fault("oldest_dropped", f"storage.max_bytes is reached; {text}", moved.gone)
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
