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
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import repeat
from pathlib import Path

from shmperf.errors import FormatError
from shmperf.files import open_private

from . import alertfile
from .codecs import Codec
from .cutting import Cut
from .filenames import file_name, segments_in, stem_of
from .history import FileState, History
from .pace import Pace
from .reading import EVERYTHING
from .retention import delete_old_reports
from .segmentfile import Index, doubled, moment, read_index, segment_lines
from .segments import Kept, Moved, Segments, kept_of, listing
from .shortening import Beginning, Head, begun_anew, measured

__all__ = ["Archive"]

_READ = os.O_RDONLY | os.O_NONBLOCK
_LEFT_OVER = re.compile(r"\..+_perf(\.\d+)?\.jsonl(\.zst|\.gz)?\.(new|rest)\Z")
# No pause of the drain is longer for it than a piece of a flush is.
_PIECE_S = 0.02
# Whose first lines are looked at in a step.
_FILES = 100


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
            _remove_left_overs(self._path)
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

    def _tool_of(self, stem: str, names: Mapping[int, str]) -> str | None:
        """The tool whose segments these are, by the first index that says so."""
        for name in names.values():
            index = _index(self._path, name)
            if index is not None and stem_of(index.tool) == stem:
                return index.tool
        return None

    def _taken_up(self, tool: str, known: Segments, names: Mapping[int, str]) -> Segments:
        indexes = {number: _index(self._path, names[number]) for number in sorted(names)}
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
            kept[number] = kept_of(names[number], size, index)
        # Of a file that is not there any more, too: the journal lists it until there is another.
        following = max(known.next, max(names, default=0) + 1)
        return listing(kept, following).with_moved_of(known)

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
            segments = segments.at_rest(file.inode)
        while codec is not None and file.lines - segments.moved_lines >= most_lines:
            cut = Cut(self._path, tool, file, segments.moved_bytes)
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
        if segments.moved_bytes and self._is_still(tool, file):
            gone = Head(segments.moved_bytes, segments.moved_lines)
            yield from self._begun_anew(tool, file, segments, Beginning(gone))

    def _begun_anew(
        self, tool: str, file: FileState, segments: Segments, beginning: Beginning
    ) -> Generator[Moved | None]:
        for state in begun_anew(self._path, self._history, file, tool, beginning):
            yield None if state is None else Moved(tool, segments.at_rest(), state)

    def _is_still(self, tool: str, file: FileState) -> bool:
        """True when a tool's file is the one that was read from."""
        now = self._history.files.get(tool)
        return now is not None and now.inode == file.inode

    def _free_number(self, tool: str, number: int) -> int:
        """The first number from there on that nobody has."""
        taken = segments_in(self._path).get(stem_of(tool), {})
        return max(number, max(taken, default=0) + 1)

    def _listed(self, tool: str, segments: Segments, cut: Cut) -> Segments:
        kept = self._kept.setdefault(tool, {})
        kept[cut.number] = Kept(cut.name, cut.size, cut.index.lines, cut.index.last)
        listed = listing(kept, cut.number + 1)
        listed.inode = segments.inode
        listed.moved_bytes = segments.moved_bytes + cut.index.raw
        listed.moved_lines = segments.moved_lines + cut.index.lines
        return listed

    # --- segments go -----------------------------------------------------------------------------

    def oldest(self) -> dict[str, list[int]]:
        """The segment whose calls are the oldest, by its tool; nothing without any."""
        found = [
            (one.last is None, one.last or 0, tool, number) for tool, number, one in self._all()
        ]
        if not found:
            return {}
        *_, tool, number = min(found)
        return {tool: [number]}

    def older_than(self, cutoff: str) -> dict[str, list[int]]:
        """The segments all of whose calls began before *cutoff*, a ``timestamp``, by tool."""
        limit = moment(cutoff) or 0
        found: dict[str, list[int]] = {}
        for tool, number, one in self._all():
            if one.last is not None and one.last < limit:
                found.setdefault(tool, []).append(number)
        return found

    def _all(self) -> Iterator[tuple[str, int, Kept]]:
        for tool, kept in self._kept.items():
            for number, one in kept.items():
                yield tool, number, one

    def let_go(
        self, chosen: Callable[[], Mapping[str, list[int]]], listed: Mapping[str, Segments]
    ) -> Generator[Moved]:
        """Delete the segments that are *chosen*, tool by tool."""
        for tool, numbers in chosen().items():
            yield self._without(tool, numbers, listed.get(tool, Segments()))

    def _without(self, tool: str, numbers: Iterable[int], known: Segments) -> Moved:
        kept = self._kept.get(tool, {})
        lines = 0
        for number in self._pace.whole(numbers):
            one = kept.pop(number)
            (self._path / one.name).unlink(missing_ok=True)  # point: segment-let-go
            lines += one.lines
        return Moved(tool, listing(kept, known.next).with_moved_of(known), gone=lines)

    def drop_head(
        self, tool: str, segments: Segments, most_lines: int, cutoff: str | None = None
    ) -> Generator[Moved | None]:
        """Let the first lines of a tool's file go, as `measured` counts them."""
        file = self._history.files.get(tool)
        if file is None:
            return
        head = Head(0, 0)
        for found in measured(self._path, file, most_lines, cutoff):
            if found is None:
                yield None
            else:
                head = found
        if not head.lines or not self._is_still(tool, file):
            return
        for moved in self._begun_anew(tool, file, segments, Beginning(head)):
            yield None if moved is None else moved._replace(gone=head.lines)

    def expire(self, cutoff: str, listed: Mapping[str, Segments]) -> Generator[Moved | None]:
        """
        Let segments and lines go whose calls began before *cutoff*; reports, alerts of then.

        A file that can't be read keeps its own lines, and nothing else; OSError in the end.
        """
        for _ in delete_old_reports(self._path, cutoff):
            yield None
        yield from self.let_go(lambda: self.older_than(cutoff), listed)
        failed: OSError | None = None
        for count, tool in enumerate(list(self._history.files), 1):
            segments = listed.get(tool, Segments())
            try:
                if not segments.moved_bytes:
                    yield from self.drop_head(tool, segments, sys.maxsize, cutoff)
            except OSError as error:
                failed = error
            if count % _FILES == 0:
                yield None
        alertfile.expire(self._path, cutoff)
        if failed is not None:
            raise failed

    def take_back(self, tool: str, segments: Segments, limit: int) -> Generator[Moved | None]:
        """
        Let a tool have its newest *limit* lines in its file, and no segments.

        Segments come back whole, so that a kill finds either all of their lines in the file, and
        then they are deleted, or none; a compaction does the rest.
        """
        file, kept = self._history.files.get(tool), self._kept.get(tool, {})
        if file is None:
            return
        numbers, lines = [], file.lines
        for number in sorted(kept, reverse=True):
            if lines < limit:
                numbers.append(number)
                lines += kept[number].lines
        if numbers:
            beginning = Beginning(lines=_lines_of(self._path, [kept[n] for n in reversed(numbers)]))
            for moved in self._begun_anew(tool, file, segments, beginning):
                if moved is None:
                    yield None
                    continue
                # In the same step: the file has them, and it is journalled next.
                found = self._without(tool, numbers, moved.segments)
                yield found._replace(file=moved.file, gone=0)
            if self._is_still(tool, file):
                return
        if kept:
            yield self._without(tool, list(kept), segments)

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


def _remove_left_overs(path: Path) -> None:
    with os.scandir(path) as there:
        names = [one.name for one in there if one.name[0] == "."]
    for name in filter(_LEFT_OVER.match, names):
        (path / name).unlink(missing_ok=True)  # point: segment-left-over


def _index(path: Path, name: str) -> Index | None:
    try:
        return read_index(path / name)
    except (OSError, FormatError):
        return None


def _lines_of(path: Path, segments: Iterable[Kept]) -> Iterator[bytes]:
    for one in segments:
        yield from segment_lines(path / one.name, EVERYTHING, lambda _: None)
