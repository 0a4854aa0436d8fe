"""
Whether what was published is stored, once: stream, manifests and files against each other.

    the stream's message ids  ⊆  the manifests' ranges  =  the rows in the files, each once

Of each node's storage, in lines:

    published    known to have been published: what is stored or left out, and what the stream holds
    stored       rows in the files that the manifests in force name
    left_out     not wanted by the node, on purpose
    dropped      lost before they were published, as the node said: its spool was full
    missing      between lines that came, and in none of these: the stream let them go first
    waiting      in the stream, behind what was taken so far
    lost         in the stream, before it, and not stored: damaged, of another version, or a fault
    absent       in a manifest, and not in the files
    doubled      more rows than lines

Of the stream only headers are read. Without a broker there is no ``waiting`` and no ``lost``.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from .datasets import COLUMNS
from .engine import Engine, Stream
from .manifest import Manifest, Manifests, manifest_names, manifests_in, refuse_others
from .objects import Objects
from .ranges import Ranges
from .reading import opened_records
from .wire import name_of

__all__ = ["Checked", "NodeCheck", "check"]

_AT_ONCE = 500
_ID = re.compile(r"([0-9a-f]{32})\.(\d{1,19})\.(\d{1,7})\Z")
_Key = tuple[str, str]


class NodeCheck(msgspec.Struct, kw_only=True):
    """A node's storage, in lines; see above."""

    node: str
    origin: str
    published: int = 0
    stored: int = 0
    left_out: int = 0
    dropped: int = 0
    missing: int = 0
    waiting: int = 0
    lost: int = 0
    absent: int = 0
    doubled: int = 0

    @property
    def is_well(self) -> bool:
        """Everything that was published, and that was taken, is there once."""
        return not (self.missing or self.lost or self.absent or self.doubled)


class Checked(msgspec.Struct, kw_only=True):
    """What was found; *refused* are messages that were no batches of ours, by what was wrong."""

    place: str
    nodes: list[NodeCheck]
    refused: dict[str, int]
    objects: int
    ok: bool


class _InStream:
    """The lines that a stream holds of a node's storage: taken by now, or waiting."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.taken, self.waiting = Ranges(), Ranges()


def check(objects: Objects, engine: Engine | None) -> Checked:
    """Look at everything; raises StoreError and EngineError where that can't be done."""
    if engine is None:
        manifests, published = manifests_in(objects), {}
        stream = manifests[0].stream if manifests else ""
    else:
        # The stream's end first: what comes meanwhile is waiting at worst.
        there = engine.look()
        manifests = Manifests(engine, objects).in_force() if there else manifests_in(objects)
        published = _published(engine, manifests, there) if there else {}
        stream = there.name if there else ""
    if stream:
        refuse_others(objects, manifest_names(objects), stream)
    rows = _rows(objects, manifests) if manifests else {}
    nodes = sorted(_nodes(manifests, published, rows), key=lambda one: (one.node, one.origin))
    refused: dict[str, int] = {}
    for manifest in manifests:
        for kind, count in manifest.refused.items():
            refused[kind] = refused.get(kind, 0) + count
    return Checked(
        place=objects.place,
        nodes=nodes,
        refused=refused,
        objects=sum(len(manifest.objects) for manifest in manifests),
        ok=all(one.is_well for one in nodes),
    )


def _nodes(
    manifests: Sequence[Manifest],
    published: dict[_Key, _InStream],
    rows: dict[_Key, tuple[int, int]],
) -> Iterator[NodeCheck]:
    found = set()
    for manifest in manifests:
        for one in manifest.origins:
            key = (name_of(one.node), one.origin)
            found.add(key)
            known, taken = one.known, one.lines
            in_stream = published.get(key) or _InStream(one.node)
            count, distinct = rows.get((one.node, one.origin), (0, 0))
            waiting = _outside(in_stream.waiting, known)
            lost = _outside(in_stream.taken, known)
            yield NodeCheck(
                node=one.node,
                origin=one.origin,
                published=taken + waiting + lost,
                stored=distinct,
                left_out=one.left_out,
                dropped=one.told_dropped,
                missing=one.missing - lost,
                waiting=waiting,
                lost=lost,
                absent=max(0, taken - one.left_out - distinct),
                doubled=count - distinct,
            )
    for key, in_stream in published.items():
        if key not in found:
            waiting, lost = len(in_stream.waiting), len(in_stream.taken)
            yield NodeCheck(
                node=in_stream.node,
                origin=key[1],
                published=waiting + lost,
                waiting=waiting,
                lost=lost,
            )


def _outside(some: Ranges, known: Ranges) -> int:
    return sum(after - first for one in some for first, after in known.missing(*one))


def _rows(objects: Objects, manifests: Sequence[Manifest]) -> dict[_Key, tuple[int, int]]:
    """Rows and lines of each node's storage, as the files have them."""
    every = " UNION ALL ".join(f"SELECT node, origin, number FROM {kind}" for kind in COLUMNS)  # noqa: S608  our own names
    query = (
        "SELECT node, origin, sum(rows)::BIGINT, count(*) FROM ("  # noqa: S608  our own names
        f"SELECT node, origin, number, count(*) AS rows FROM ({every}) GROUP BY ALL"
        ") GROUP BY ALL"
    )
    with opened_records(objects, manifests) as database:
        found: list[tuple[Any, ...]] = list(database.query(query).rows)
    return {(node, origin): (rows, lines) for node, origin, rows, lines in found}


def _published(
    engine: Engine, manifests: Sequence[Manifest], there: Stream
) -> dict[_Key, _InStream]:
    """What the stream holds up to its end as it was *there*, by message ids."""
    # Of a stream made anew since nothing was taken.
    next_of = {
        manifest.partition: manifest.next
        for manifest in manifests
        if manifest.created in ("", there.created)
    }
    last = there.last
    found: dict[_Key, _InStream] = {}
    name = f"check-{secrets.token_hex(8)}"
    engine.make_consumer(name, None, headers_only=True)
    try:
        while True:
            came = engine.take(name, _AT_ONCE, 0.0)
            for one in came:
                _, _, partition, node = one.subject.rsplit(".", 3)
                matched = _ID.match(one.headers.get("Nats-Msg-Id", ""))
                if matched is None or one.sequence > last:
                    continue
                key = (node, matched[1])
                in_stream = found.setdefault(key, _InStream(node))
                first, count = int(matched[2]), int(matched[3])
                is_taken = one.sequence < next_of.get(int(partition[1:]), 0)
                lines = in_stream.taken if is_taken else in_stream.waiting
                lines.add(first, first + count)
            if not came or came[-1].sequence >= last:
                return found
    finally:
        engine.drop_consumer(name)
