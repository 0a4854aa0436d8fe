"""
A partition in the hands of its holder: messages are taken in their order, cut, stored, committed.

    take ──► lines that are new ──► seal ──► objects ──► manifest ──► commit ──► acknowledge
               └ no batch of ours: counted, told, terminated             └ stale: all thrown away

Where the last one stood says the manifest, and not the broker: the holder has a consumer of its
own, named after its epoch, that begins at the manifest's ``next``. What a former holder still takes
comes from another consumer, which is deleted (see `feed`).

A cut ends at a message that is sealed in the head before the first object is written. Who comes
after a crash takes the same messages, to the same end, and makes the same objects of them: their
names say who sealed it, from which message to which, and a digest of the lines. Where less comes,
the cut ends with the last that came, and what follows is the next one's: the rest is gone, or is
behind with a server that has not caught up since it was killed, and says that there is no more.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import NamedTuple

import msgspec

from shmperf.errors import StoreError

from .cut import Cut
from .datasets import Line, Writer, digest_of, row_of
from .engine import Engine, EngineError, Stale, Stream, Taken
from .feed import Feed
from .manifest import (
    Head,
    Manifest,
    Manifests,
    OwnHead,
    Sealed,
    StoredObject,
    StoredOrigin,
    epoch_of,
    manifest_names,
    read_manifest,
    refuse_others,
)
from .objects import Objects
from .wire import name_of, partition_name

__all__ = ["Holding", "Means"]

# Of what is no batch the first is told, the tenth, the hundredth.
_TOLD = frozenset(10**power for power in range(12))
# How long an answer that got lost is waited for, at the end of a sealed cut.
_REST_S = 1.0
_Key = tuple[str, str, str]


class Means(NamedTuple):
    """What a holder works with; *raise_epoch* lets a lease's epoch be at least so much."""

    engine: Engine
    stream: str
    partitions: int
    objects: Objects
    manifests: Manifests
    writer: Writer
    clock: Callable[[], float]
    say: Callable[[str], None]
    raise_epoch: Callable[[int, int], bool]


class Holding:
    """One partition of one place, as long as it is ours; one thread."""

    def __init__(self, means: Means, partition: int, epoch: int) -> None:
        """Hold *partition* under *epoch*, as the lease has it; begins with `claim`."""
        self.partition, self.epoch = partition, epoch
        self.name = partition_name(partition)
        self.head = OwnHead(means.manifests, partition)
        self.manifest = Manifest(
            stream=means.stream,
            partition=partition,
            partitions=means.partitions,
            epoch=epoch,
            version=0,
            next=0,
        )
        self._means = means
        self._feed = Feed(means.engine, partition)
        self._has_claimed = self._has_let_go = False
        self._began_s: float | None = None
        self._cut = self._empty_cut()

    # --- taking over ------------------------------------------------------------------------------

    @property
    def is_claimed(self) -> bool:
        """The head is ours, and messages come."""
        return self._feed.is_open

    def claim(self) -> None:
        """
        Put our epoch into the head: from then on nobody else's commit is taken.

        Raises Stale when somebody else was quicker; EngineError, StoreError: to be tried again.
        """
        means = self._means
        head, revision = means.manifests.head(self.partition)
        names = manifest_names(means.objects, self.name).get(self.name, [])
        highest = max([0, *map(epoch_of, names[:1])] + ([head.epoch] if head else []))
        if highest >= self.epoch and not (self._has_claimed and highest == self.epoch):
            # The leases are younger than what lies here: epochs go on.
            if not means.raise_epoch(self.partition, highest + 1):
                raise Stale(f"{self.name}: another collector holds it")
            self.epoch = highest + 1
        refuse_others(means.objects, {self.name: names}, means.stream)
        stream = means.engine.open()
        base = self._base(head, names, stream)
        mine = Head(self.epoch, base, _still_sealed(head, stream))
        self.head.claim(mine, revision)  # point: fleet-claim
        self._has_claimed = True
        if head is not None and head.epoch != self.epoch:
            means.engine.drop_consumer(self._consumer(head.epoch))
        self._follow()

    def _base(self, head: Head | None, names: Sequence[str], stream: Stream) -> str:
        """Take up the manifest in force, or what lies here where the broker knows of none."""
        means = self._means
        name = head.manifest if head is not None else next(iter(names), "")
        if name:
            found = read_manifest(means.objects, name)  # point: fleet-read
            if found.partition != self.partition or found.partitions != means.partitions:
                raise StoreError(
                    f"{means.objects.place}: collected with {found.partitions} partitions, "
                    f"the stream has {means.partitions}: use another place"
                )
            self.manifest = found
        self._has_let_go = stream.first > 1
        is_known = head is not None and self.manifest.created in ("", stream.created)
        if not is_known or self.manifest.next > stream.last + 1:
            # The stream began anew. What of it is stored already, the ranges know.
            self.manifest.next = 0
        self.manifest.created = stream.created
        return name

    def _consumer(self, epoch: int) -> str:
        return f"collect-{self._means.objects.identity()[:16]}-{self.name}-{epoch}"

    def _follow(self) -> None:
        """From the next message on, and nothing taken yet."""
        self._cut = self._empty_cut()
        self._feed.begin(self._consumer(self.epoch), self.manifest.next)

    def _empty_cut(self) -> Cut:
        self._began_s = None
        return Cut(self.manifest.origins, self.partition, self._means.partitions)

    # --- taking -----------------------------------------------------------------------------------

    def take(self, wait_s: float = 0.0) -> bool:
        """Take what is next, if the cut has room for it; True when something came."""
        if self._is_full:
            return False
        came = self._feed.take(wait_s)
        if came is None:
            # All since the last commit comes again.
            self._follow()
            return True
        self._acknowledge_again(one for one in came if one.sequence < self.manifest.next)
        for place, one in enumerate(came):
            if one.sequence <= self._last:
                continue  # it comes again, as it was not acknowledged in time
            sealed = self.head.now.sealed
            if self._is_full or (sealed is not None and one.sequence > sealed.last):
                self._feed.give_back(came[place:])
                break
            if self._began_s is None:
                self._began_s = self._means.clock()
            kind, reason = self._cut.add(one, is_late=self._has_let_go)
            count = self.manifest.refused.get(kind, 0) + self._cut.refused[kind]
            if kind and count in _TOLD:
                self._means.say(
                    f"{self.name}: message {one.sequence}: {reason} ({count:,} {kind} so far)"
                )
        return bool(came)

    def _acknowledge_again(self, stored: Iterable[Taken]) -> None:
        """Of what is stored no acknowledgement was heard."""
        with suppress(EngineError):
            self._feed.settle(list(stored), [])

    @property
    def size_bytes(self) -> int:
        """What was taken and is not stored."""
        return self._cut.size_bytes

    @property
    def _last(self) -> int:
        return self._cut.taken[-1].sequence if self._cut.taken else self.manifest.next - 1

    @property
    def _is_full(self) -> bool:
        # A cut that is sealed has its end.
        return self.head.now.sealed is None and self._cut.is_full

    # --- storing ----------------------------------------------------------------------------------

    def is_due(self, every_s: float) -> bool:
        """It is time to store what was taken: much, some for a while, or to a sealed end."""
        sealed = self.head.now.sealed
        if sealed is not None:
            # All of a cut that somebody sealed is here; or no more of it comes.
            return (
                self._last >= sealed.last
                or self._feed.has_ahead
                or (not self.take(_REST_S) and self._feed.is_exhausted(len(self._cut.taken)))
            )
        if self._began_s is None:
            return False
        return self._is_full or self._means.clock() - self._began_s >= every_s

    @property
    def has_some(self) -> bool:
        """Something was taken, and is not stored."""
        return bool(self._cut.taken) or self.head.now.sealed is not None

    def is_empty(self) -> bool:
        """Nothing waits in the stream."""
        return self._feed.is_exhausted(0)

    def store(self) -> int:
        """
        Write what was taken, commit it, acknowledge it; how many lines that were.

        Raises Stale where another one holds the partition now: it is over. After any other error
        the same may be tried again, as often as it takes.
        """
        if not self.head.now.manifest:
            # Two streams that began at once in an empty place: who commits first has it.
            others = manifest_names(self._means.objects)
            refuse_others(self._means.objects, others, self._means.stream)
        mine = Sealed(self.epoch, self._last, self.manifest.created)
        if self.head.now.sealed is None:
            self.head.set(Head(self.epoch, self.head.now.manifest, mine))
        sealed = self.head.now.sealed or mine  # point: fleet-sealed
        before = _missing(self.manifest.origins)
        following = msgspec.structs.replace(
            self.manifest,
            epoch=self.epoch,
            version=self.manifest.version + 1,
            next=self._last + 1,
            objects=[*self.manifest.objects, *self._written(sealed)],
            origins=self._cut.origins(),
            refused=dict(Counter(self.manifest.refused) + self._cut.refused),
        )
        self._commit(following)
        for node, lines in (_missing(self.manifest.origins) - before).items():
            self._means.say(f"{node}: {lines:,} lines are missing: the stream has let them go")
        stored, self._cut = self._cut, self._empty_cut()
        with suppress(EngineError):
            # What can't be acknowledged comes again, and is passed over.
            self._feed.settle(*stored.parted())
        return stored.lines

    def replace_objects(self, merged: StoredObject, parts: Sequence[StoredObject]) -> None:
        """Let one object be in the place of others that hold the same rows; raises as `store`."""
        names = {one.name for one in parts}
        kept = [one for one in self.manifest.objects if one.name not in names]
        following = msgspec.structs.replace(
            self.manifest,
            epoch=self.epoch,
            version=self.manifest.version + 1,
            objects=[*kept, merged],
        )
        self._commit(following)

    def _written(self, sealed: Sealed) -> list[StoredObject]:
        """The cut as objects: one for each kind, day and node."""
        lines: dict[_Key, list[Line]] = {}
        texts: dict[_Key, list[bytes]] = {}
        for part in self._cut.parts:
            source = f"{part.origin} {part.storage}".encode()
            for number, text in part.lines:
                line = row_of(text)
                line.row.update(node=part.node, origin=part.origin, number=number)
                if line.kind == "calls":
                    line.row["storage"] = part.storage
                key = (line.kind, line.day, part.node)
                lines.setdefault(key, []).append(line)
                texts.setdefault(key, []).append(b"%s %d %s" % (source, number, text))
        found = []
        for key in sorted(lines):
            digest = digest_of(texts.pop(key))
            found.append(self._written_object(key, lines.pop(key), sealed, digest))
        return found

    def _written_object(
        self, key: _Key, lines: Sequence[Line], sealed: Sealed, digest: str
    ) -> StoredObject:
        kind, day, node = key
        writer, first = self._means.writer, self.manifest.next
        name = (
            f"{kind}/day={day}/node={name_of(node)}/"
            f"{self.name}-{sealed.epoch}-{first}-{self._last}-{digest}.{writer.form}"
        )
        body = writer.body(kind, (line.row for line in lines))
        self._means.objects.write(name, body)  # point: fleet-object
        return StoredObject(name, kind, day, node, len(lines), len(body), first, self._last)

    def _commit(self, following: Manifest) -> None:
        following = self._means.manifests.shortened(following)
        name = self._means.manifests.write(following)
        self.head.set(Head(self.epoch, name))  # point: fleet-commit
        self.manifest = following  # point: fleet-committed


def _still_sealed(head: Head | None, stream: Stream) -> Sealed | None:
    """What is sealed, if it is of *stream*, and all of it may come yet."""
    sealed = head.sealed if head is not None else None
    if sealed is None or sealed.created != stream.created or sealed.last > stream.last:
        return None
    return sealed


def _missing(origins: Sequence[StoredOrigin]) -> Counter[str]:
    found: Counter[str] = Counter()
    for one in origins:
        found[one.node] += one.missing
    return found
