"""A segment on its way: lines of a history file, compressed and written aside, synced, renamed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

from shmperf.files import open_private

from .codecs import Codec
from .filenames import file_name, stem_of
from .history import FileState
from .segmentfile import FRAME_BYTES, MOST_FRAMES, Index, encode_index, head_of, summary_of

__all__ = ["Cut"]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_READ = os.O_RDONLY | os.O_NONBLOCK
_SYNC_LOOK_S = 0.02


class Cut:
    """Lines of a file, from an offset on; the thread that writes. `close` it whatever happens."""

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
        self._compress: Callable[[bytes], bytes]
        self._sync: threading.Thread | None = None
        self._failed: OSError | None = None
        self.index = Index(tool, b"", [])
        self.number = self._lines = 0
        self.name = ""
        self.size = 0

    def begin(self, number: int, codec: Codec) -> None:
        """Begin the segment of that *number*; OSError."""
        if os.fstat(self._source.fileno()).st_ino != self._inode:
            raise FileNotFoundError(f"{file_name(self._tool)} has been exchanged")
        self.number, self._codec, self._compress = number, codec, codec.compressor()
        self.name = f"{stem_of(self._tool)}.{number:06d}.jsonl{codec.suffix}"
        self._aside = self._path / f".{self.name}.new"
        self._aside.unlink(missing_ok=True)
        self._fd = open_private(self._aside, _NEW)  # point: segment-begin

    def has_more(self, most_lines: int) -> bool:
        """True while the segment has not got its lines."""
        is_full = self._lines >= most_lines or len(self.index.frames) >= MOST_FRAMES
        return not is_full and self._at < self._end

    def add_frame(self, most_lines: int) -> bool:
        """Write a frame of lines; True while there are further ones to come."""
        chunk, left = self._chunk(), most_lines - self._lines
        lines = chunk.split(b"\n")
        lines.pop()
        if len(lines) > left:
            del lines[left:]
            chunk = b"\n".join(lines) + b"\n"
        if not self.index.frames:
            self.index.head = head_of(lines[0] + b"\n")
        frame = self._compress(chunk)
        self._write(frame)  # point: segment-frame
        self.index.frames.append(summary_of(self._tool, lines, len(frame)))
        self._at += len(chunk)
        self._lines += len(lines)
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
