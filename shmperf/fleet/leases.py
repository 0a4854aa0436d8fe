"""
One holder a partition at a time, and as many partitions for each collector as for the others.

    bucket leases: <place's identity>.p00                who holds it, since which epoch, its beat
                   <place's identity>.member.<holder>    who is there at all

A holder rewrites its leases every second. Whoever has seen the same revision of one for five
seconds, by its own clock and not by anybody's time of day, takes it, with the next epoch, by
compare-and-set: of two that try, one has it. Each wants its share of the partitions, rounded up,
and lets go what it has beyond that.

A lease says who may begin; it protects nothing. A holder that was stopped, and goes on, learns of
its loss at its next beat, and may have written until then: what keeps that out is the head of the
manifests (see `manifest`), which the new holder has changed.

    killed, stopped or cut off      five seconds later others have its partitions
    broker away                     nobody can take anything; whoever holds goes on
    nobody there for a day          the bucket forgets them, and who was there; epochs go on from
                                    the head, which is never forgotten
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from .engine import Engine, EngineError, Entry, Stale
from .wire import partition_name

__all__ = ["BEAT_S", "LEASE_S", "Keeper", "Lease", "Leases"]

BEAT_S, LEASE_S = 1.0, 5.0
# Of a collector that does nothing for so long, though it beats, others take the work.
_HUNG_S = 180.0
_FORGOTTEN_S = 60.0
_MEMBER = "member"


class Lease(msgspec.Struct, frozen=True):
    """Who holds a partition, nobody with an empty name; the epoch only grows."""

    holder: str
    epoch: int
    beat: int


class _Seen(NamedTuple):
    """A key's value, since when it is at that revision, by our own clock; whether it changes."""

    value: bytes
    revision: int
    since_s: float
    beats: bool


class Leases:
    """The partitions of a place that this process holds; `step` by one thread, the rest by any."""

    def __init__(
        self,
        engine: Engine,
        identity: str,
        partitions: int,
        clock: Callable[[], float] = time.monotonic,
        lease_s: float = LEASE_S,
    ) -> None:
        """Of *partitions* that are collected into the place of that *identity*."""
        self._lease_s = lease_s
        self.holder = secrets.token_hex(8)
        self._engine = engine
        self._bucket = "leases"
        self._identity = identity
        self._partitions = partitions
        self._clock = clock
        self._seen: dict[str, _Seen] = {}
        self._newest = 0
        self._beat = 0
        self._held: dict[int, int] = {}
        # Of held ones, at which revision we wrote them: what was seen later is another one's.
        self._revisions: dict[int, int] = {}
        self._lock = threading.Lock()

    def held(self) -> dict[int, int]:
        """The partitions that are ours as far as we know, each with its epoch."""
        with self._lock:
            return dict(self._held)

    def step(self) -> None:
        """Beat, look who is there, take and let go; EngineError: to be tried again."""
        self._beat += 1
        self._engine.put(self._bucket, self._member(self.holder), str(self._beat).encode())
        self._look()
        for partition in self.held():
            self._renew(partition)
        share = -(-self._partitions // max(1, self._alive()))
        for partition in sorted(self.held(), reverse=True)[: max(0, len(self._held) - share)]:
            self.let_go(partition)
        for partition in self._free():
            if len(self._held) >= share:
                break
            self._take(partition)

    def is_covered(self) -> bool:
        """Each partition is ours, or another one's whose beat was seen."""
        return all(
            partition in self._held
            or (
                (seen := self._seen.get(self._key(partition))) is not None
                and seen.beats
                and not self._is_free(partition)
            )
            for partition in range(self._partitions)
        )

    def let_go(self, partition: int) -> None:
        """Let others have it at once; the epoch stays."""
        with self._lock:
            epoch = self._held.pop(partition, None)
        if epoch is not None:
            self._write(partition, Lease("", epoch, self._beat))

    def raise_epoch(self, partition: int, least: int) -> bool:
        """Let the epoch of a held partition be *least*; False if it is not ours any more."""
        if partition not in self.held():
            return False
        # Under the lock: a beat of the other thread would write the former one.
        with self._lock:
            if self._written(partition, Lease(self.holder, least, self._beat)):
                self._held[partition] = least
                return True
            self._held.pop(partition, None)
            return False

    def close(self) -> None:
        """Let everything go; what the engine does not do then, time does."""
        with suppress(EngineError):
            for partition in self.held():
                self.let_go(partition)
            self._engine.delete(self._bucket, self._member(self.holder))

    def _look(self) -> None:
        """Take up what has changed since the last look."""
        for entry in self._engine.entries(self._bucket, self._newest).entries:
            self._note(entry)
            self._newest = max(self._newest, entry.revision)

    def _note(self, entry: Entry) -> None:
        known = self._seen.get(entry.key)
        if entry.key.startswith(f"{self._identity}.") and (
            known is None or known.revision != entry.revision
        ):
            self._seen[entry.key] = _Seen(
                entry.value, entry.revision, self._clock(), known is not None
            )

    def _alive(self) -> int:
        """How many collectors there are, this one too; those long gone are forgotten."""
        now_s, mine, count = self._clock(), self._member(self.holder), 1
        for key, seen in list(self._seen.items()):
            if not key.startswith(f"{self._identity}.{_MEMBER}.") or key == mine:
                continue
            if now_s - seen.since_s < self._lease_s:
                count += 1
            elif now_s - seen.since_s > _FORGOTTEN_S:
                self._engine.delete(self._bucket, key)
                del self._seen[key]
        return count

    def _free(self) -> list[int]:
        return [
            partition
            for partition in range(self._partitions)
            if partition not in self._held and self._is_free(partition)
        ]

    def _is_free(self, partition: int) -> bool:
        seen = self._seen.get(self._key(partition))
        if seen is None:
            return True
        lease = _lease_in(seen.value)
        # One of our own that we don't hold: our beat was heard, and its answer got lost.
        is_nobodys = lease.holder in ("", self.holder)
        return is_nobodys or self._clock() - seen.since_s >= self._lease_s

    def _take(self, partition: int) -> None:
        seen = self._seen.get(self._key(partition))
        epoch = 1 if seen is None else _lease_in(seen.value).epoch + 1
        if self._write(partition, Lease(self.holder, epoch, self._beat)):  # point: fleet-take
            with self._lock:
                self._held[partition] = epoch

    def _renew(self, partition: int) -> None:
        with self._lock:
            epoch = self._held.get(partition)
            if epoch is not None and not self._written(
                partition, Lease(self.holder, epoch, self._beat)
            ):
                del self._held[partition]

    def _write(self, partition: int, lease: Lease) -> bool:
        with self._lock:
            return self._written(partition, lease)

    def _written(self, partition: int, lease: Lease) -> bool:
        """Whether *lease* stands now; if somebody was quicker, all is looked at anew."""
        key = self._key(partition)
        seen = self._seen.get(key)
        known = self._revisions.get(partition)
        if known is None:
            known = seen.revision if seen else 0
        value = msgspec.msgpack.encode(lease)
        try:
            revision = self._engine.put(self._bucket, key, value, known)
        except Stale:
            self._revisions.pop(partition, None)
            # Of a bucket that began anew, its revisions too, nothing newer would ever be seen.
            if seen is not None and seen.revision == known:
                self._seen.pop(key)
            self._newest = 0
            return False
        self._revisions[partition] = revision
        if not lease.holder:
            del self._revisions[partition]
        self._seen[key] = _Seen(value, revision, self._clock(), True)
        return True

    def _key(self, partition: int) -> str:
        return f"{self._identity}.{partition_name(partition)}"

    def _member(self, holder: str) -> str:
        return f"{self._identity}.{_MEMBER}.{holder}"


def _lease_in(value: bytes) -> Lease:
    """What a key says; somebody else's value is nobody's lease."""
    try:
        return msgspec.msgpack.decode(value, type=Lease)
    except msgspec.MsgspecError:
        return Lease("", 0, 0)


class Keeper:
    """A thread that keeps leases, as long as whoever works under them gives a sign of life."""

    def __init__(self, leases: Leases, clock: Callable[[], float] = time.monotonic) -> None:
        """Of *leases*; begins with `start`."""
        self._leases = leases
        self._clock = clock
        self._signed_s = clock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="shmperf-leases", daemon=True)
        # What was wrong at the last beat.
        self.problem = ""

    def start(self) -> None:
        """Beat from now on."""
        self._thread.start()

    def sign(self) -> None:
        """The work goes on."""
        self._signed_s = self._clock()

    def close(self) -> None:
        """Stop beating, and let everything go."""
        self._ended.set()
        self._thread.join()
        self._leases.close()

    def _keep(self) -> None:
        self._step()
        while not self._ended.wait(BEAT_S):
            self._step()

    def _step(self) -> None:
        if self._clock() - self._signed_s > _HUNG_S:
            return
        try:
            self._leases.step()
            self.problem = ""
        except EngineError as error:
            self.problem = str(error)
