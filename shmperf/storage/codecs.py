"""
How segments are compressed: frames that stand alone, and an index that decompressors pass over.

zstd comes with Python from 3.14 on and as ``backports.zstd`` before; it is imported when something
is compressed or read, and never by a worker. Without it gzip takes its place, which is a seventh
as fast and nearly as small.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from struct import Struct
from types import ModuleType
from typing import Protocol

from shmperf.errors import FormatError

__all__ = ["CODECS", "Codec", "codec_named", "has_zstd"]

# A skippable frame of the zstd format (RFC 8878, 3.1.2): this magic, a length, any bytes.
_SKIPPABLE = Struct("<II")
_SKIPPABLE_MAGIC = 0x184D2A5E
# A member of gzip (RFC 1952) without content, whose extra field holds any bytes.
_EXTRA = Struct("<4BIBBH2sH")
_EMPTY_DEFLATE = b"\x03\x00" + bytes(8)
_GZIP_LEVEL = 6
_GZIP = 31  # zlib's number for a window of 32 KiB with gzip's header and trailer
# Beyond level 1 a line of history gets no smaller, and takes longer.
_ZSTD_LEVEL = 1
_CHECKED = True
_MOST_WINDOW_LOG = 24


class Expander(Protocol):
    """What both decompressors of the standard library offer."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, content: bytes, most: int = -1, /) -> bytes: ...


class Codec:
    """One format; a frame is whole lines."""

    suffix = ""
    magic = b""
    # What may stand behind the index, and how long an index may be.
    tail_bytes = 0
    most_index_bytes = 0

    def compressor(self) -> Callable[[bytes], bytes]:
        """What makes frames that stand alone, one after the other; one thread's."""
        raise NotImplementedError

    def expander(self) -> Expander:
        """What expands one frame; ValueError or what `errors` names when it is damaged."""
        raise NotImplementedError

    def errors(self) -> tuple[type[Exception], ...]:
        """What expanding a damaged frame raises."""
        raise NotImplementedError

    def hidden(self, index: bytes) -> bytes:
        """*index* as something that a decompressor passes over without a word."""
        raise NotImplementedError

    def expand(self, frame: bytes, most: int) -> bytes:
        """The lines of *frame*; ValueError when it is damaged, or holds more than *most* bytes."""
        expander = self.expander()
        try:
            lines = expander.decompress(frame, most + 1)
        except self.errors() as error:
            raise ValueError(str(error)) from None
        if not expander.eof or len(lines) > most:
            raise ValueError("an incomplete frame, or one that is too long")
        return lines


class _Zstd(Codec):
    suffix = ".zst"
    magic = b"\x28\xb5\x2f\xfd"
    most_index_bytes = 1 << 20

    def compressor(self) -> Callable[[bytes], bytes]:
        module = _zstd()
        parameter = module.CompressionParameter
        options = {parameter.compression_level: _ZSTD_LEVEL, parameter.checksum_flag: _CHECKED}
        # Used again, it is a seventh faster.
        compressor = module.ZstdCompressor(options=options)
        return lambda lines: compressor.compress(lines, compressor.FLUSH_FRAME)

    def expander(self) -> Expander:
        module = _zstd()
        # A frame may ask for memory: for no more than any of ours does.
        options = {module.DecompressionParameter.window_log_max: _MOST_WINDOW_LOG}
        found: Expander = module.ZstdDecompressor(options=options)
        return found

    def errors(self) -> tuple[type[Exception], ...]:
        return (_zstd().ZstdError, EOFError)

    def hidden(self, index: bytes) -> bytes:
        return _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(index)) + index


class _Gzip(Codec):
    suffix = ".gz"
    magic = b"\x1f\x8b\x08"
    tail_bytes = len(_EMPTY_DEFLATE)
    # An extra field's length has 16 bits.
    most_index_bytes = 65_000

    def compressor(self) -> Callable[[bytes], bytes]:
        def compress(lines: bytes) -> bytes:
            compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP)
            return compressor.compress(lines) + compressor.flush()

        return compress

    def expander(self) -> Expander:
        return zlib.decompressobj(_GZIP)

    def errors(self) -> tuple[type[Exception], ...]:
        return (zlib.error, EOFError)

    def hidden(self, index: bytes) -> bytes:
        header = _EXTRA.pack(0x1F, 0x8B, 8, 4, 0, 0, 255, len(index) + 4, b"SM", len(index))
        return header + index + _EMPTY_DEFLATE


def _zstd() -> ModuleType:
    """The module; FormatError without one."""
    try:
        if sys.version_info >= (3, 14):
            from compression import zstd  # noqa: PLC0415  may be missing in a build of Python
        else:
            from backports import zstd  # noqa: PLC0415  not for workers, who never compress
    except ImportError:
        raise FormatError("zstd is missing here; run: pip install backports.zstd") from None
    module: ModuleType = zstd
    return module


def has_zstd() -> bool:
    """True when segments can be compressed with zstd here."""
    try:
        _zstd()
    except FormatError:
        return False
    return True


CODECS: tuple[Codec, ...] = (_Zstd(), _Gzip())


def codec_named(name: str) -> Codec | None:
    """The codec of ``history.compress``; gzip for zstd where that is missing; None for off."""
    if name == "off":
        return None
    zstd, gzip = CODECS
    return zstd if name == "zstd" and has_zstd() else gzip
