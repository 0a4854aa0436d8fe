"""
Questions to a collector and its answers: msgpack messages on a Unix socket, bounded on both sides.

    message:  length (u32, little-endian) · msgpack
    request:  one of the structs of `messages`, tagged by its name; what programs ask is here
    answer:   {"ok": value} or {"error": text}, one for each request, in order

Beside it lies a pipe, ``bell``: a byte in it, whatever it says, ends the collector's wait. Workers
write one when a ring fills up while the collector sleeps, at most a few hundred times a second.

The socket lies in the session's private directory, and each side checks the other's uid. The server
never blocks: it is driven by the collector's loop, a slow client has a bounded buffer, and one that
sends what is no request is cut off and counted.
"""

from __future__ import annotations

import socket
from struct import Struct
from struct import error as struct_error
from typing import Annotated

import msgspec

from shmperf.stdlib import os

__all__ = [
    "BELL",
    "CHUNK_BYTES",
    "LENGTH",
    "MOST_ANSWER_BYTES",
    "MOST_REQUEST_BYTES",
    "Cleanup",
    "FiguresOf",
    "Flush",
    "Optimize",
    "Stats",
    "encode",
    "pid_of",
    "uid_of",
]

LENGTH = Struct("<I")
_CREDENTIALS = Struct("3i")
MOST_REQUEST_BYTES = 1 << 18
MOST_ANSWER_BYTES = 256 << 20
CHUNK_BYTES = 1 << 16
BELL = "bell"


class Stats(msgspec.Struct, tag=True):
    """Statistics of one tool, or of all."""

    tool: str | None = None


class FiguresOf(msgspec.Struct, tag=True):
    """
    What the statistics of one tool, or of all, are made of.

    With extremes since *mark*; a mark that *begins* here is one from now on.
    """

    tool: str | None = None
    mark: Annotated[str, msgspec.Meta(max_length=64)] = ""
    begins: bool = False


class Flush(msgspec.Struct, tag=True):
    """
    Answered once everything that had ended is on disk, with True.

    With *patience_s* answered after that time at the latest, with the number of calls that are not
    in their files yet; 0 when all are.
    """

    patience_s: float | None = None


class Cleanup(msgspec.Struct, tag=True):
    """Forget history and statistics; *force* overrides the configuration."""

    force: bool = False


class Optimize(msgspec.Struct, tag=True):
    """
    Begin a run of the optimization cycle, or join the one that is going on; how far it is.

    Asked again and again with the same *token* until it is over. *seconds* and *calls* bound a run
    that begins, None as configured; *keep* leaves records of before; *ends* ends it now.
    """

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
    seconds: Annotated[float, msgspec.Meta(gt=0, le=86_400)] | None = None
    calls: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    keep: bool = False
    ends: bool = False


encode = msgspec.msgpack.Encoder().encode


def uid_of(connection: socket.socket) -> int:
    """The uid at the other end; our own where the system has no way to tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return os.geteuid()
    return _credentials_of(connection)[1]


def pid_of(connection: socket.socket) -> int:
    """The pid at the other end; 0 where the system has no way to tell, or can't from here."""
    return max(0, _credentials_of(connection)[0])


def _credentials_of(connection: socket.socket) -> tuple[int, int]:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return -1, -1
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(credentials)
    except (OSError, struct_error):
        return -1, -1
    return pid, uid
