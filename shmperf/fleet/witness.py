"""
What a broker was told of the numbers that a run has given out: it does not go back with a storage.

    bucket `numbers`, key <origin of the run>    [who, after]: those before *after* are given

A storage that is put back from a backup, or with its whole machine from a snapshot, has its own
notes of what it has published put back, too. So a publisher tells it here before anything goes out
under a higher number, by compare-and-set on what it told last, and looks here when it begins and
after each connection that was lost. Where more is told than the storage knows of, or somebody else
has told it, the numbers from there on mean other lines to whoever stores: a new run begins.

    killed after …                       the next publisher
    noted in the storage, not told       tells it
    told, nothing published              goes on: the storage knows of it

Kept for as long as the bucket is; a broker that has lost it knows of no run, and agrees.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import Annotated

import msgspec
from msgspec import Meta

from .engine import Engine, EngineError, Stale

__all__ = ["BUCKET", "Witness"]

BUCKET = "numbers"
# What this publisher told last: a server that has just begun to lead may answer with some of it.
_MOST_REMEMBERED = 64


class _Told(msgspec.Struct, array_like=True):
    who: bytes
    after: Annotated[int, Meta(ge=0, le=1 << 62)]


class Witness:
    """One publisher's; one thread. Its methods raise Away and Refused."""

    def __init__(self, engine: Engine) -> None:
        """Nothing is asked yet."""
        self._engine = engine
        self._who = secrets.token_bytes(8)
        self._origin = b""
        self._revision: int | None = None
        self._after = 0
        self._mine: deque[bytes] = deque(maxlen=_MOST_REMEMBERED)

    def doubt(self) -> None:
        """Look again before anything is told: the connection was another one."""
        self._revision = None

    def agrees(self, origin: bytes, after: int) -> bool:
        """Whether nobody has told of a number of the run *origin* from *after* on."""
        if self._origin != origin:
            self._origin, self._revision = origin, None
            self._mine.clear()
        if self._revision is None and not self._look():
            return False
        return self._after <= after

    def tell(self, origin: bytes, after: int) -> bool:
        """Tell that those before *after* are given out; False where somebody else has told more."""
        if not self.agrees(origin, after):
            return False
        while self._after < after:
            value = msgspec.msgpack.encode(_Told(self._who, after))
            self._mine.append(value)
            try:
                revision = self._engine.put(BUCKET, self._key, value, self._revision)
            except Stale:
                # What is there may be our own all the same: an answer that came from too far back.
                if not self._look() or self._after > after:
                    return False
            except EngineError:
                # Perhaps it was told all the same.
                self._revision = None
                raise
            else:
                self._revision, self._after = revision, after
        return True

    @property
    def _key(self) -> str:
        # Whatever the node is called: its lines are known by their origin.
        return self._origin.hex()

    def _look(self) -> bool:
        """Take up what is there; False where it is another publisher's beside this one."""
        entry = self._engine.get(BUCKET, self._key)
        if entry is None:
            self._revision, self._after = 0, 0
            return True
        try:
            told = msgspec.msgpack.decode(entry.value, type=_Told)
        except (msgspec.MsgspecError, ValueError):
            return False
        self._revision, self._after = entry.revision, told.after
        return not self._mine or entry.value in self._mine
