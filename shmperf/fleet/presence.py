"""
Whether a node's name is its own: two publishers of one name tell so, each of them.

    bucket `presence`, key <node>    [who, origin], written by each publisher every few seconds

Each writes with compare-and-set on what it wrote last. Whoever finds something else there has a
double: it says so, and takes the key over, so that the other one finds the same. A publisher that
was started anew takes the key over once, which nobody who has ended sees. No clock is read: two are
alive when both go on writing.

Both go on publishing: their lines have other origins, and nothing is lost. But who asks by node is
shown both as one.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import msgspec

from shmperf.session.messages import SidecarReport

from .engine import Away, Engine, Stale
from .wire import name_of

__all__ = ["BUCKET", "Presence"]

BUCKET = "presence"
_EVERY_S = 5.0
# Beats that find the key as it was left, until the double is believed to be gone.
_QUIET = 3


class _Told(msgspec.Struct, array_like=True):
    who: bytes
    origin: bytes


class Presence:
    """One publisher's; one thread."""

    def __init__(
        self,
        engine: Engine,
        node: str,
        origin: bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """*origin* is the storage's."""
        self.problem: str | None = None
        self.doubles = 0
        self._engine = engine
        self._node = node
        self._origin = origin
        self._who = secrets.token_bytes(8)
        self._clock = clock
        self._due_s = 0.0
        self._revision: int | None = None
        self._quiet = 0

    def step(self, _: SidecarReport) -> None:
        """Write, if it is time; raises Away and Refused."""
        if self._clock() < self._due_s:
            return
        self._due_s = self._clock() + _EVERY_S
        if self._revision is None:
            # Who has begun, or was cut off, looks first: what stands there may be our own.
            self._revision = self._found_revision(is_double=False)
        try:
            self._write()
        except Stale:
            self._revision = self._found_revision(is_double=True)
            self._write()
        except Away:
            # Perhaps it was written all the same.
            self._revision = None
            raise

    def finish(self, _: SidecarReport) -> None:
        """Nobody is missed who has gone: there is nothing to tell."""

    def _write(self) -> None:
        value = msgspec.msgpack.encode(_Told(self._who, self._origin))
        self._revision = self._engine.put(BUCKET, name_of(self._node), value, self._revision)
        self._quiet += 1
        if self._quiet > _QUIET:
            self.problem = None

    def _found_revision(self, *, is_double: bool) -> int:
        entry = self._engine.get(BUCKET, name_of(self._node))
        if entry is None:
            return 0
        try:
            told = msgspec.msgpack.decode(entry.value, type=_Told)
        except (msgspec.MsgspecError, ValueError):
            told = _Told(b"", b"")
        if is_double and told.who != self._who:
            what = "a copy of this storage" if told.origin == self._origin else "another storage"
            self.problem = f"two nodes are called {self._node!r}: {what} is published, too"
            self.doubles += 1
            self._quiet = 0
        return entry.revision
