"""
Calls in the order of their starts, however many there are.

History is ordered by tool and by end. What needs time's order sorts runs of calls in memory, puts
them aside in unnamed temporary files, which only this process sees and which end with it, and
merges them: a run's worth of calls is in memory, and a few of each run.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from heapq import merge
from itertools import islice
from math import inf
from typing import BinaryIO

import msgspec

from shmperf.errors import StoreError
from shmperf.files import translated
from shmperf.storage.kept import KeptCall

__all__ = ["by_start"]

_RUN = 100_000
_PIECE = 256
_LENGTH_BYTES = 4
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[KeptCall]).decode


def by_start(calls: Iterable[KeptCall], run: int = _RUN) -> Iterator[KeptCall]:
    """*calls*, the earliest first; StoreError when there is no room to put them aside."""
    rest = iter(calls)
    with ExitStack() as files:
        aside: list[Iterator[KeptCall]] = []
        while True:
            some = sorted(islice(rest, run), key=_key)
            if len(some) < run:
                break
            try:
                file = files.enter_context(tempfile.TemporaryFile())
                _put(file, some)
            except OSError as error:
                raise translated(error, tempfile.gettempdir(), StoreError) from None
            aside.append(_taken(file))
            some.clear()  # or two runs would be in memory while the next is read
        yield from merge(*aside, some, key=_key) if aside else some


def _key(call: KeptCall) -> tuple[float, float]:
    """Of two that began at once the longer one is around the other."""
    duration_s = call.duration_s
    return call.start_s or 0.0, -(inf if duration_s is None else duration_s)


def _put(file: BinaryIO, calls: list[KeptCall]) -> None:
    for at in range(0, len(calls), _PIECE):
        piece = _encode(calls[at : at + _PIECE])
        file.write(len(piece).to_bytes(_LENGTH_BYTES, "little") + piece)
    file.flush()
    file.seek(0)


def _taken(file: BinaryIO) -> Iterator[KeptCall]:
    while size := file.read(_LENGTH_BYTES):
        yield from _decode(file.read(int.from_bytes(size, "little")))
