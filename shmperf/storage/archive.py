"""
Segments of history: which there are, how lines come into them, and how they go.

A file of a tool that keeps all has its oldest lines moved into numbered segments. It goes in steps,
each in the thread that writes and none of them long; what a step hands over is in the journal
before the next one begins:

    1  compressed lines are written aside, synced, and renamed to the next number
    2  the segment is listed in the journal, and how much of the file is in segments by now
    3  the rest of the file is copied aside, and renamed to the file's name
    4  the file's new state is in the journal

    killed after …              the next collector finds
    written aside               a file that nobody reads: deleted
    renamed, not listed         a segment whose first line stands in the file still: deleted
    listed, file not replaced   the same, and listed: its lines are left out of the file next
    replaced, not journalled    a file that is not the listed one: taken up as it is
    let go, not journalled      a number without a segment: listed no more

Readers need no journal to see every line once: a segment's index has its first line's digest, and a
segment whose first line stands at the file's beginning is still whole in the file, as are those
that follow. Who reads opens the file first and looks for segments then, so nothing passes by
between the two.

A segment is synced before lines leave the file: they may have been on the disk for long, and a
machine that loses power must not lose what it had. That is done in a thread of its own, as it takes
as long as the disk likes.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Mapping
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import msgspec

from shmperf.errors import FormatError
from shmperf.files import open_private

from .codecs import Codec
from .filenames import file_name, segments_in, stem_of
from .history import FileState, History
from .pace import Pace
from .segmentfile import (
    FRAME_BYTES,
    MOST_FRAMES,
    Index,
    doubled,
    encode_index,
    head_of,
    read_index,
    summary_of,
)
from .shortening import shortened

__all__ = ["Archive", "Moved", "Segments", "lines_in"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_READ = os.O_RDONLY | os.O_NONBLOCK
_LEFT_OVER = re.compile(r"\..+_perf(\.\d+)?\.jsonl(\.zst|\.gz)?\.(new|rest)\Z")
# No pause of the drain is longer for it than a piece of a flush is.
_PIECE_S = 0.02
_SYNC_LOOK_S = 0.02


class Segments(msgspec.Struct, array_like=True):
    """
    The segments of a tool as the journal lists them: numbers from ``first`` on and before ``next``.

    ``moved_bytes`` of the file with that ``inode``, ``moved_lines`` lines, are in segments and
    have not left the file yet.
    """

    first: int = 1
    next: int = 1
    lines: int = 0
    size: int = 0
    inode: int = 0
    moved_bytes: int = 0
    moved_lines: int = 0

    def none(self) -> Segments:
        """A listing without any, which goes on with their numbers."""
        return Segments(first=self.next, next=self.next)

    def with_those_of(self, former: Segments) -> Segments:
        """A listing of these and of *former*, by their numbers alone."""
        return Segments(first=min(self.first, former.first), next=max(self.next, former.next))


class Moved(NamedTuple):
    """What a frame has to say: the segments of a tool as they are now, and its file."""

    tool: str
    segments: Segments
    file: FileState | None = None


class Kept(NamedTuple):
    """A segment that is there; ``last`` is when the last of its calls began, in microseconds."""

    name: str
    size: int
    lines: int
    last: int | None


def lines_in(file: FileState | None, segments: Segments | None) -> int:
    """How many lines of a tool there are: those in both places count once."""
    count = 0 if file is None else file.lines
    if segments is None:
        return count
    if file is not None and segments.inode == file.inode:
        count -= segments.moved_lines
    return count + segments.lines


class Archive:
    """The segments of one directory; the thread that writes."""

    def __init__(self, path: Path, history: History, pace: Pace) -> None:
        self._path = path
        self._history = history
        self._pace = pace
        self._kept: dict[str, dict[int, Kept]] = {}

    # --- taking up -------------------------------------------------------------------------------

    def restore(
        self, listed: Mapping[str, Segments], erasing: Mapping[str, Segments]
    ) -> dict[str, Segments]:
        """
        Take up what is there, after the history files; the listings that are to be different.

        Segments that nobody has listed are those of a journal that is lost, or of another machine:
        they are listed now. *erasing* are on their way out.
        """
        self._kept = {}
        changed: dict[str, Segments] = {}
        try:
            self._remove_left_overs()
            here = segments_in(self._path)
        except OSError:
            return {}
        tools = {stem_of(tool): tool for tool in listed}
        for stem, names in self._pace.whole(here.items()):
            tool = tools.get(stem) or self._tool_of(stem, names)
            if tool is None:
                continue
            known = listed.get(tool, Segments())
            gone = erasing.get(tool, Segments())
            numbers = {n: name for n, name in names.items() if not gone.first <= n < gone.next}
            found = self._taken_up(tool, known, numbers)
            if found != known:
                changed[tool] = found
        for tool, known in listed.items():
            if stem_of(tool) not in here and known.lines + known.size:
                changed[tool] = known.none()
        return changed

    def _remove_left_overs(self) -> None:
        with os.scandir(self._path) as there:
            names = [one.name for one in there if one.name[0] == "."]
        for name in filter(_LEFT_OVER.match, names):
            (self._path / name).unlink(missing_ok=True)  # point: segment-left-over

    def _tool_of(self, stem: str, names: Mapping[int, str]) -> str | None:
        """The tool whose segments these are, by the first index that says so."""
        for name in names.values():
            index = self._index(name)
            if index is not None and stem_of(index.tool) == stem:
                return index.tool
        return None

    def _index(self, name: str) -> Index | None:
        try:
            return read_index(self._path / name)
        except (OSError, FormatError):
            return None

    def _taken_up(self, tool: str, known: Segments, names: Mapping[int, str]) -> Segments:
        indexes = {number: self._index(names[number]) for number in sorted(names)}
        twice = self._in_both(tool, known, indexes)
        for number in twice:
            (self._path / names[number]).unlink(missing_ok=True)  # point: segment-twice
        kept = self._kept[tool] = {}
        for number, index in indexes.items():
            if number in twice or (index is None and not known.first <= number < known.next):
                continue
            try:
                size = (self._path / names[number]).lstat().st_size
            except OSError:
                continue
            kept[number] = _kept(names[number], size, index)
        listed = _listing(kept, max(known.next, max(names, default=0) + 1))
        # Of a file that is not there any more, too: the journal lists it until there is another.
        listed.inode, listed.moved_bytes = known.inode, known.moved_bytes
        listed.moved_lines = known.moved_lines
        return listed

    def _in_both(self, tool: str, known: Segments, indexes: Mapping[int, Index | None]) -> set[int]:
        """The segments that count for nothing beside the tool's file, as it holds their lines."""
        try:
            fd = open_private(self._path / file_name(tool), _READ)
        except OSError:
            return set()
        with os.fdopen(fd, "rb") as file:
            if known.moved_bytes and known.inode == os.fstat(fd).st_ino:
                unlisted = {n: index for n, index in indexes.items() if n >= known.next}
                return doubled(file, known.moved_bytes, unlisted)
            return doubled(file, 0, indexes)

    # --- lines come in ---------------------------------------------------------------------------

    def move(
        self, tool: str, segments: Segments, codec: Codec | None, most_lines: int
    ) -> Generator[Moved | None]:
        """
        Move the oldest lines of a tool's file into segments of *most_lines*, while it has as many.

        In steps. One that hands something over has changed what the journal must list before the
        next. Without a *codec* only what is listed leaves the file. OSError leaves all as it was.
        """
        file = self._history.files.get(tool)
        if file is None:
            return
        if segments.inode != file.inode:
            segments = _at_rest(segments, file.inode)
        while codec is not None and file.lines - segments.moved_lines >= most_lines:
            cut = _Cut(self._path, tool, file, segments.moved_bytes)
            try:
                cut.begin(self._free_number(tool, segments.next), codec)
                while cut.has_more(most_lines):
                    for _ in self._pace.piece(repeat(None), _PIECE_S):
                        if not cut.add_frame(most_lines):
                            break
                    yield None
                cut.end()
                while not cut.is_synced():
                    self._pace.beats += 1
                    yield None
                if not self._is_still(tool, file):
                    return
                cut.rename()  # point: segment-rename
            finally:
                cut.close()
            segments = self._listed(tool, segments, cut)  # point: segment-renamed
            yield Moved(tool, segments)
        if segments.moved_bytes:
            yield from self._leave_out(tool, segments)

    def _leave_out(self, tool: str, segments: Segments) -> Generator[Moved | None]:
        """Let the file begin behind what is in segments."""
        size, lines = segments.moved_bytes, segments.moved_lines
        for state in shortened(self._path, self._history, tool, size, lines):
            yield None if state is None else Moved(tool, _at_rest(segments), state)

    def _is_still(self, tool: str, file: FileState) -> bool:
        """True when a tool's file is the one that was read from."""
        now = self._history.files.get(tool)
        return now is not None and now.inode == file.inode

    def _free_number(self, tool: str, number: int) -> int:
        """The first number from there on that nobody has."""
        taken = segments_in(self._path).get(stem_of(tool), {})
        return max(number, max(taken, default=0) + 1)

    def _listed(self, tool: str, segments: Segments, cut: _Cut) -> Segments:
        kept = self._kept.setdefault(tool, {})
        kept[cut.number] = Kept(cut.name, cut.size, cut.index.lines, cut.index.last)
        listed = _listing(kept, cut.number + 1)
        listed.inode = segments.inode
        listed.moved_bytes = segments.moved_bytes + cut.index.raw
        listed.moved_lines = segments.moved_lines + cut.index.lines
        return listed

    # --- segments go -----------------------------------------------------------------------------

    def erase(self, segments: Mapping[str, Segments]) -> None:
        """Delete the segments that *segments* list."""
        wanted = {stem_of(tool): tool for tool, one in segments.items() if one.first < one.next}
        if not wanted:
            return
        here = segments_in(self._path)
        for stem, tool in self._pace.whole(wanted.items()):
            for number, name in here.get(stem, {}).items():
                if segments[tool].first <= number < segments[tool].next:
                    (self._path / name).unlink(missing_ok=True)  # point: segment-erase
                    self._kept.get(tool, {}).pop(number, None)


def _listing(kept: Mapping[int, Kept], following: int) -> Segments:
    """What the journal lists of *kept*."""
    return Segments(
        first=min(kept, default=following),
        next=following,
        lines=sum(one.lines for one in kept.values()),
        size=sum(one.size for one in kept.values()),
    )


def _at_rest(segments: Segments, inode: int = 0) -> Segments:
    """*segments*, of whose lines none is in the file."""
    return msgspec.structs.replace(segments, inode=inode, moved_bytes=0, moved_lines=0)


def _kept(name: str, size: int, index: Index | None) -> Kept:
    return Kept(name, size, 0, None) if index is None else Kept(name, size, index.lines, index.last)


class _Cut:
    """A segment on its way: lines of a file, from an offset on, compressed and written aside."""

    def __init__(self, path: Path, tool: str, file: FileState, at: int) -> None:
        self._path = path
        self._tool = tool
        self._at = at
        self._end = file.size
        self._source = os.fdopen(open_private(path / file.name, _READ), "rb")
        self._inode = file.inode
        self._aside: Path | None = None
        self._fd = -1
        self._codec: Codec
        self._sync: threading.Thread | None = None
        self._failed: OSError | None = None
        self.index = Index(tool, b"", [])
        self.number = 0
        self.name = ""
        self.size = 0

    def begin(self, number: int, codec: Codec) -> None:
        """Begin the segment of that *number*; OSError."""
        if os.fstat(self._source.fileno()).st_ino != self._inode:
            raise FileNotFoundError(f"{file_name(self._tool)} has been exchanged")
        self.number, self._codec = number, codec
        self.name = f"{stem_of(self._tool)}.{number:06d}.jsonl{codec.suffix}"
        self._aside = self._path / f".{self.name}.new"
        self._aside.unlink(missing_ok=True)
        self._fd = open_private(self._aside, _NEW)  # point: segment-begin

    def has_more(self, most_lines: int) -> bool:
        """True while the segment has not got its lines."""
        frames = self.index.frames
        return self.index.lines < most_lines and len(frames) < MOST_FRAMES and self._at < self._end

    def add_frame(self, most_lines: int) -> bool:
        """Write a frame of lines; True while there are further ones to come."""
        lines = _first_lines(self._chunk(), most_lines - self.index.lines)
        if not self.index.frames:
            self.index.head = head_of(lines[: lines.index(b"\n") + 1])
        frame = self._codec.compress(lines)
        self._write(frame)  # point: segment-frame
        self.index.frames.append(summary_of(lines, len(frame)))
        self._at += len(lines)
        return self.has_more(most_lines)

    def _chunk(self) -> bytes:
        """Whole lines; a long one alone."""
        size = FRAME_BYTES
        while True:
            self._source.seek(self._at)
            chunk = self._source.read(min(size, self._end - self._at))
            whole = chunk.rfind(b"\n") + 1
            if whole:
                return chunk[:whole]
            if len(chunk) < size:
                raise OSError(f"{file_name(self._tool)} has lost its last line's end")
            size *= 4

    def end(self) -> None:
        """Write the index, and begin to sync."""
        self._write(encode_index(self.index, self._codec))  # point: segment-index
        self._sync = threading.Thread(target=self._synced, name="shmperf-sync", daemon=True)
        self._sync.start()

    def is_synced(self) -> bool:
        """True once it is on the disk; looks for a moment. OSError when it can't be."""
        assert self._sync is not None  # noqa: S101  it has ended
        self._sync.join(_SYNC_LOOK_S)
        if self._failed is not None:
            raise self._failed
        return not self._sync.is_alive()

    def rename(self) -> None:
        """Make it a segment."""
        assert self._aside is not None  # noqa: S101  it has begun
        self._aside.rename(self._path / self.name)
        self._aside = None

    def close(self) -> None:
        """Let go of its files; what is not a segment yet is deleted."""
        self._source.close()
        if self._fd >= 0 and not (self._sync is not None and self._sync.is_alive()):
            os.close(self._fd)
            self._fd = -1
        if self._aside is not None:
            self._aside.unlink(missing_ok=True)

    def _synced(self) -> None:
        try:
            os.fsync(self._fd)
        except OSError as error:
            self._failed = error

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._fd, view) :]
        self.size += len(content)


def _first_lines(chunk: bytes, count: int) -> bytes:
    """The first *count* lines, or all."""
    if chunk.count(b"\n") <= count:
        return chunk
    at = 0
    for _ in range(count):
        at = chunk.index(b"\n", at) + 1
    return chunk[:at]
