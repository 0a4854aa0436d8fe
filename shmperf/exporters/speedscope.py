"""
Kept calls for speedscope (https://www.speedscope.app): a profile for each lane of a worker.

Its file format is an object of frames and of profiles, each with events that open and close frames,
nested and in order of time. Lanes are found while calls are read, and one after the other are their
events written; until then these lie in an unnamed temporary file, eight bytes and four an event.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from os import SEEK_END
from struct import Struct
from typing import Self

import msgspec

from shmperf.errors import StoreError
from shmperf.files import translated
from shmperf.storage.kept import KeptCall

from .lanes import Lane, Turn, placed

__all__ = ["export"]

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_encode = msgspec.json.Encoder().encode
# When, and which frame: its number and one more, negative where it is closed.
_EVENT = Struct("<di")
_BUFFERED = 512


def export(calls: Iterable[KeptCall]) -> Iterator[bytes]:
    """One JSON object with *calls*; StoreError when there is no room to put them aside."""
    frames: dict[str, int] = {}
    try:
        with _Lanes() as lanes:
            for turn in placed(calls):
                lanes.add(turn, frames.setdefault(_name(turn), len(frames)))
            yield b'{"$schema":' + _encode(_SCHEMA) + b',"exporter":"shmperf","shared":{"frames":'
            yield _encode([{"name": name} for name in frames])
            yield b'},"profiles":['
            yield from lanes.profiles()
            yield b"]}\n"
    except OSError as error:
        raise translated(error, tempfile.gettempdir(), StoreError) from None


def _name(turn: Turn) -> str:
    name = turn.call.call.tool or "(no name)"
    return name if turn.call.is_ended else f"{name} (never ended)"


class _Lanes:
    """The events of each lane: blocks of the temporary file, and what is not written yet."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed when the lanes are
        self._blocks: dict[Lane, list[tuple[int, int]]] = {}
        self._buffers: dict[Lane, bytearray] = {}
        self._reached_us: dict[Lane, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, turn: Turn, frame: int) -> None:
        """Note a begin or an end; within a lane never before what came last."""
        lane = turn.call.lane
        at_us = self._reached_us[lane] = max(turn.at_us, self._reached_us.get(lane, 0.0))
        buffer = self._buffers.setdefault(lane, bytearray())
        buffer += _EVENT.pack(at_us, frame + 1 if turn.is_begin else -frame - 1)
        if len(buffer) >= _BUFFERED * _EVENT.size:
            self._write(lane, buffer)

    def _write(self, lane: Lane, buffer: bytearray) -> None:
        offset = self._file.seek(0, SEEK_END)
        self._file.write(buffer)
        self._blocks.setdefault(lane, []).append((offset, len(buffer)))
        buffer.clear()

    def profiles(self) -> Iterator[bytes]:
        """A profile for each lane, by worker."""
        parting = b""
        for lane in sorted(self._buffers):
            kind = "overlapping calls" if lane.is_overlapping else "lane"
            head = {
                "type": "evented",
                "name": f"worker {lane.pid}, {kind} {lane.number}",
                "unit": "microseconds",
                "startValue": 0,
                "endValue": _rounded(self._reached_us[lane]),
            }
            yield parting + _encode(head)[:-1] + b',"events":['
            yield from self._events(lane)
            yield b"]}"
            parting = b",\n"

    def _events(self, lane: Lane) -> Iterator[bytes]:
        parting = b""
        for block in (*self._written(lane), bytes(self._buffers[lane])):
            events = [_event(at_us, frame) for at_us, frame in _EVENT.iter_unpack(block)]
            if events:
                yield parting + _encode(events)[1:-1]
                parting = b","

    def _written(self, lane: Lane) -> Iterator[bytes]:
        for offset, size in self._blocks.get(lane, ()):
            self._file.seek(offset)
            yield self._file.read(size)


def _event(at_us: float, frame: int) -> dict[str, str | float | int]:
    return {"type": "O" if frame > 0 else "C", "at": _rounded(at_us), "frame": abs(frame) - 1}


def _rounded(us: float) -> float:
    return round(us, 3)
