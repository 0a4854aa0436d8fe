"""
The history files: one of strict JSON lines a tool, kept within the tool's limit.

A file holds at most twice its limit of lines, and exactly the newest after a compaction. Three
things happen to it, and what must be in the journal in between is the caller's part:

    prepare  create or adopt a file, or compact it to make room     journal its state, then …
    append   write lines behind its listed size                     journal its new state
    restore  after a restart: cut it back to its listed size

So a kill after an append and before the journal leaves a longer file, which is cut back, while the
calls are still among the kept: no line is missing and none is there twice. A compaction rewrites
only lines that were there, so a kill around it changes nothing either.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, TypeAlias

import msgspec

from shmperf.errors import StoreError
from shmperf.files import open_private, translated
from shmperf.shm.record import Call

from .filenames import SUFFIX, file_name
from .lines import end_of, jsonl
from .order import in_order
from .pace import Pace
from .reading import read

__all__ = ["SUFFIX", "FileState", "History", "count_lines", "file_name", "read"]

_APPEND = os.O_RDWR | os.O_APPEND
_READ = os.O_RDONLY | os.O_NONBLOCK
# End, offset and length of a line.
_LineAt: TypeAlias = tuple[float, int, int]


class FileState(msgspec.Struct, array_like=True):
    """A history file as the journal lists it."""

    name: str
    inode: int
    size: int
    lines: int


class History:
    """The history files of one directory; one thread of the collector writes them."""

    def __init__(self, path: Path, pace: Pace | None = None) -> None:
        """*pace* ends a round of `prepare_all` or `append_all` early; its caller goes on there."""
        self._path = path
        self._pace = pace or Pace(lambda: 0.0)
        self.files: dict[str, FileState] = {}

    def restore(self, files: Mapping[str, FileState]) -> None:
        """
        Take up *files* as the journal lists them, each cut back to its listed size.

        One that is missing, exchanged or shorter than listed is left out: it will be adopted as it
        is when it is needed again.
        """
        self.files = {}
        for tool, known in self._pace.whole(files.items()):
            try:
                fd = open_private(self._path / known.name, _APPEND)
            except OSError:
                continue
            try:
                there = os.fstat(fd)
                # point below: files-restore
                if there.st_ino == known.inode and there.st_size >= known.size:
                    os.ftruncate(fd, known.size)  # point: files-cut
                    self.files[tool] = known
            finally:
                os.close(fd)

    def prepare_all(
        self, counts: Mapping[str, int], limits: Mapping[str, int]
    ) -> dict[str, FileState]:
        """
        Make each tool's file fit to take that many further lines; the states that are new.

        They must be journalled before `append_all`. A tool whose file can't be had is left out;
        StoreError when that is true of all of them.
        """
        changed = {}
        failed: OSError | None = None
        for tool, count in self._pace.piece(counts.items()):
            try:
                self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
                known = self._checked(tool)
                state = self._prepared(known or self._adopt(tool), count, limits[tool])
            except OSError as error:
                self.files.pop(tool, None)
                failed = error
                continue
            if state is not known:
                changed[tool] = self.files[tool] = state  # point: file-prepared
        if failed is not None and not self.files.keys() & counts.keys():
            raise translated(failed, self._path, StoreError) from failed
        return changed

    def _prepared(self, state: FileState, count: int, limit: int) -> FileState:
        if limit >= 0 and state.lines + count > 2 * limit:
            return self._compact(state, limit)
        return state

    def append_all(
        self,
        calls: Mapping[str, list[Call]],
        limits: Mapping[str, int],
        copy: Callable[[bytes], object] | None = None,
    ) -> dict[str, FileState]:
        """
        Append to files that are prepared; the new states of those that worked.

        Each text that is written goes to *copy*, too. A failed write is cut back; StoreError when
        nothing could be written.
        """
        written: dict[str, FileState] = {}
        failed: OSError | None = None
        for tool, ended in self._pace.piece(calls.items()):
            if tool not in self.files:
                continue
            newest = in_order(ended)
            if limits[tool] >= 0:
                newest = newest[max(0, len(newest) - limits[tool]) :]
            try:
                text = jsonl(newest)
                written[tool] = self._append(tool, text, len(newest))  # point: lines-tool
            except OSError as error:
                failed = error
                continue
            if copy is not None:
                copy(text)
        if failed is not None and not written:
            raise translated(failed, self._path, StoreError) from failed
        self.files.update(written)  # point: lines-appended
        return written

    def compact_all(self, limits: Mapping[str, int]) -> dict[str, FileState]:
        """Cut every file to the newest of its tool; the states of those that changed."""
        changed: dict[str, FileState] = {}
        try:
            for tool, limit in self._pace.whole(limits.items()):
                known = self._checked(tool)
                if known is not None and 0 <= limit < known.lines:
                    # point below: compact-tool
                    changed[tool] = self.files[tool] = self._compact(known, limit)
        except OSError as error:
            self._unlist(changed)
            raise translated(error, self._path, StoreError) from error
        return changed

    def cut_all(self, before_ns: Mapping[str, int]) -> dict[str, FileState]:
        """
        Take out of each tool's file the lines of calls that ended before a time (Unix, ns).

        The states of files that changed. Again for the same times it changes nothing, so a kill
        before they are journalled costs nothing. A file that can't be rewritten stays as it is.
        """
        changed: dict[str, FileState] = {}
        for tool, before in self._pace.piece(before_ns.items()):
            try:
                known = self._checked(tool) or self._there(tool)
                if known is not None:
                    # point below: cut-tool
                    changed[tool] = self.files[tool] = self._rewrite(known, _ending_at(before))
            except OSError:
                continue
        return changed

    def _there(self, tool: str) -> FileState | None:
        """The file of *tool*, if there is one, though it is not the one that is listed."""
        return self._adopt(tool) if (self._path / file_name(tool)).is_file() else None

    def erase(self, files: Mapping[str, FileState]) -> None:
        """Delete *files*, those that are still the ones listed."""
        for tool, known in self._pace.whole(files.items()):
            path = self._path / known.name
            try:
                if path.lstat().st_ino == known.inode:
                    path.unlink()  # point: erase-file
            except OSError:
                continue
            self.files.pop(tool, None)  # point: erase-erased

    def _unlist(self, tools: Iterable[str]) -> None:
        """Forget files whose states the caller never saw, and so can't have journalled."""
        for tool in tools:
            self.files.pop(tool, None)

    def _checked(self, tool: str) -> FileState | None:
        """The listed state of *tool*'s file, if that is still the file there."""
        known = self.files.get(tool)
        if known is None:
            return None
        try:
            there = (self._path / known.name).lstat()
        except FileNotFoundError:
            return None
        same = there.st_ino == known.inode and there.st_size >= known.size
        return known if same and stat.S_ISREG(there.st_mode) else None

    def _adopt(self, tool: str) -> FileState:
        """The file that stands in the tool's place, without a torn last line; else a new one."""
        name = file_name(tool)
        fd = open_private(self._path / name, _APPEND | os.O_CREAT)
        try:
            there = os.fstat(fd)
            if not stat.S_ISREG(there.st_mode) or there.st_uid != os.geteuid():
                raise PermissionError(f"{name} is not a file of ours")
            lines, size = count_lines(fd)  # point: file-adopt
            os.ftruncate(fd, size)  # point: file-adopt-cut
            return FileState(name, there.st_ino, size, lines)
        finally:
            os.close(fd)

    def _append(self, tool: str, text: bytes, lines: int) -> FileState:
        known = self.files[tool]
        fd = open_private(self._path / known.name, _APPEND)
        try:
            there = os.fstat(fd)
            if there.st_ino != known.inode:
                raise FileNotFoundError(f"{known.name} has been exchanged")
            if there.st_size < known.size:
                raise FileNotFoundError(f"{known.name} has been cut")
            if there.st_size > known.size:
                os.ftruncate(fd, known.size)
            view = memoryview(text)  # point: lines-append
            try:
                while view:
                    view = view[os.write(fd, view) :]  # point: lines-write
            except OSError:
                os.ftruncate(fd, known.size)
                raise
        finally:
            os.close(fd)
        return FileState(known.name, known.inode, known.size + len(text), known.lines + lines)

    def _compact(self, known: FileState, limit: int) -> FileState:
        """*known* cut to its newest lines."""

        def newest(rows: list[_LineAt]) -> list[_LineAt]:
            rows.sort(key=itemgetter(0))
            return rows[max(0, len(rows) - limit) :]

        return self._rewrite(known, newest)

    def _rewrite(
        self, known: FileState, choose: Callable[[list[_LineAt]], list[_LineAt]]
    ) -> FileState:
        """*known* with those lines that are chosen; bytes behind its size are not taken over."""
        path = self._path / known.name
        aside = self._path / f".{known.name}.new"
        aside.unlink(missing_ok=True)
        with os.fdopen(open_private(path, _READ), "rb") as source:
            chosen = choose(list(_rows(source, known.size)))
            fd = open_private(aside, _APPEND | os.O_CREAT | os.O_EXCL)
            try:
                with os.fdopen(fd, "wb") as file:
                    for _, at, length in chosen:
                        source.seek(at)
                        file.write(source.read(length))  # point: compact-line
                    file.flush()  # point: compact-flush
                    renewed = os.fstat(fd)
                aside.replace(path)  # point: compact-replace
            except OSError:
                aside.unlink(missing_ok=True)
                raise
        # point below: compact-replaced
        return FileState(known.name, renewed.st_ino, renewed.st_size, len(chosen))


def _ending_at(before_ns: int) -> Callable[[list[_LineAt]], list[_LineAt]]:
    """Of lines, those of calls that did not end before that time."""
    return lambda rows: [row for row in rows if row[0] >= before_ns / 1e9]


def _rows(file: BinaryIO, size: int) -> Iterator[_LineAt]:
    """End, offset and length of each whole line in the first *size* bytes."""
    at = 0
    for text in file:
        if at + len(text) > size:
            return
        yield end_of(text), at, len(text)
        at += len(text)


def count_lines(fd: int) -> tuple[int, int]:
    """Whole lines in a file, and where the last of them ends."""
    lines = size = at = 0
    while chunk := os.pread(fd, 1 << 20, at):
        count = chunk.count(b"\n")
        if count:
            lines += count
            size = at + chunk.rindex(b"\n") + 1
        at += len(chunk)
    return lines, size
