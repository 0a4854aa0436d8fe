"""
Many small objects into one, and what nobody reads any more out of the way; by a partition's holder.

    same kind, day, node, and about as large ──► one object of all their rows ──► commit
    the others, which no manifest in force names now, stay for a while ──► deleted

A reader has a manifest, of before or of after: either names every row once. Both sets of objects
are there until a reader of the older one has had its time.

Which objects of no manifest may be deleted, by a holder that may have been stopped for long and not
know yet that another one has taken over:

    named by a manifest that was in force, replaced since    always: a commit has done it
    never named, of an epoch before the holder's             always: who wrote it can't commit it;
                                                             but for a cut that is sealed: who comes
                                                             next writes those very names again
    never named, of the holder's own epoch, or a later one   never by this one
    manifests before the one in force                        always

Objects are merged with others of their size, so that a row is written again only as often as its
object has grown eightfold.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence

from .datasets import COLUMNS, Writer, digest_of
from .holding import Holding
from .manifest import StoredObject, manifest_names, place_of, read_list, refuse_others
from .objects import Objects

__all__ = ["Compaction", "Sweep"]

_LEAST, _MOST = 8, 64
_SMALLEST, _STEP, _LARGEST = 4 << 10, 8, 8 << 20
# How long what is not in force any more stays for its readers.
GRACE_S = 900.0
_LOOK_S = 300.0
_OBJECT = re.compile(r"(\w+)/day=[^/]+/node=[^/]+/(p\d{2,6})-(\d+)-\d+-\d+-[0-9a-f]+\.\w+\Z")


class Compaction:
    """Merges objects of held partitions, one group at a time; one thread."""

    def __init__(self, objects: Objects, writer: Writer, sweep: Sweep, least: int = _LEAST) -> None:
        """As soon as *least* objects of a size are there; *sweep* is told which were replaced."""
        self._sweep = sweep
        self._objects = objects
        self._writer = writer
        self._least = least

    def step(self, holding: Holding) -> bool:
        """Merge one group, if there is one; True when it was done. Raises as `Holding.store`."""
        if holding.head.now.sealed is not None:
            return False
        parts = self._group(holding.manifest.objects)
        if not parts:
            return False
        kind, form = parts[0].kind, parts[0].name.rpartition(".")[2]
        body = self._writer.merged(kind, (self._objects.read(one.name) for one in parts))
        first, last = min(one.first for one in parts), max(one.last for one in parts)
        digest = digest_of(one.name.encode() for one in parts)
        directory = parts[0].name.rpartition("/")[0]
        name = f"{directory}/{holding.name}-{holding.epoch}-{first}-{last}-{digest}.{form}"
        self._objects.write(name, body)  # point: fleet-merged
        rows = sum(one.rows for one in parts)
        day, node = parts[0].day, parts[0].node
        merged = StoredObject(name, kind, day, node, rows, len(body), first, last)
        holding.replace_objects(merged, parts)
        self._sweep.replaced(parts)
        return True

    def _group(self, objects: Iterable[StoredObject]) -> list[StoredObject]:
        """Objects that may be one, if there are enough."""
        groups: dict[tuple[object, ...], list[StoredObject]] = {}
        for one in objects:
            form = one.name.rpartition(".")[2]
            if one.size >= _LARGEST or form != self._writer.form:
                continue
            key = (one.kind, one.day, one.node, _tier(one.size))
            group = groups.setdefault(key, [])
            group.append(one)
            if len(group) >= self._least and _enough(group):
                return group
        return next((group for group in groups.values() if len(group) >= self._least), [])


def _tier(size: int) -> int:
    tier = 0
    while size >= _SMALLEST:
        size //= _STEP
        tier += 1
    return tier


def _enough(group: Sequence[StoredObject]) -> bool:
    return len(group) >= _MOST or sum(one.size for one in group) >= _LARGEST


class Sweep:
    """Deletes what is not in force any more; one thread."""

    def __init__(
        self,
        objects: Objects,
        stream: str,
        clock: Callable[[], float] = time.monotonic,
        grace_s: float = GRACE_S,
    ) -> None:
        """
        What was seen for *grace_s*, by that clock, and was never in force meanwhile, goes.

        Nothing goes where something of another stream than *stream* lies.
        """
        self._objects = objects
        self._stream = stream
        self._clock = clock
        self._grace_s = grace_s
        self._looked_s = -_LOOK_S
        self._seen: dict[str, float] = {}
        self._replaced: set[str] = set()
        self._listed: dict[str, frozenset[str]] = {}

    def replaced(self, parts: Iterable[StoredObject]) -> None:
        """These were in force, and a commit has put others in their place."""
        self._replaced.update(one.name for one in parts)

    def step(self, holdings: Sequence[Holding], *, now: bool = False) -> int:
        """Look for such objects, once in a while; how many were deleted. Raises StoreError."""
        now_s = self._clock()
        if not now and now_s - self._looked_s < _LOOK_S:
            return 0
        self._looked_s = now_s
        found = set(self._found(holdings))
        self._seen = {name: since_s for name, since_s in self._seen.items() if name in found}
        deleted = 0
        for name in sorted(found):
            if now_s - self._seen.setdefault(name, now_s) >= self._grace_s:
                self._objects.delete(name)  # point: fleet-delete
                self._replaced.discard(name)
                deleted += 1
        return deleted

    def _found(self, holdings: Sequence[Holding]) -> Iterable[str]:
        held = {one.name: one for one in holdings if one.is_claimed}
        manifests = manifest_names(self._objects)
        refuse_others(self._objects, self._not_ours(held, manifests), self._stream)
        for partition, names in manifests.items():
            if partition in held:
                in_force = held[partition].head.now.manifest
                yield from (name for name in names if place_of(name) < place_of(in_force))
        for kind in COLUMNS:
            yield from self._orphans(kind, held)

    def _not_ours(
        self, held: dict[str, Holding], manifests: dict[str, list[str]]
    ) -> dict[str, list[str]]:
        """Those of partitions that we don't hold, or where another one is newer than ours."""
        found: dict[str, list[str]] = {}
        for partition, names in manifests.items():
            in_force = held[partition].head.now.manifest if partition in held else ""
            if names[0] != in_force:
                found[partition] = names
        return found

    def _named(self, held: dict[str, Holding]) -> set[str]:
        """All that the manifests in force name, in their lists too; raises StoreError."""
        lists = {name for holding in held.values() for name in holding.manifest.lists}
        self._listed = {
            name: self._listed.get(name)
            or frozenset(one.name for one in read_list(self._objects, name))
            for name in lists
        }
        inline = {one.name for holding in held.values() for one in holding.manifest.objects}
        return inline.union(*self._listed.values())

    def _orphans(self, kind: str, held: dict[str, Holding]) -> Iterable[str]:
        named = self._named(held)
        for name in self._objects.names(kind):
            matched = _OBJECT.match(name)
            holding = held.get(matched[2]) if matched else None
            if matched is None or holding is None or name in named:
                continue
            epoch = int(matched[3])
            sealed = holding.head.now.sealed
            is_dead = epoch < holding.epoch and not (sealed and sealed.epoch == epoch)
            if is_dead or name in self._replaced:
                yield name
