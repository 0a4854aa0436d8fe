"""What is published for collectors, collectors as processes, and what is stored, counted twice."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from shmperf.errors import StoreError
from shmperf.fleet.checking import Checked, check
from shmperf.fleet.datasets import COLUMNS
from shmperf.fleet.engine import Engine, EngineError, Message
from shmperf.fleet.manifest import Manifests, manifests_in
from shmperf.fleet.objects import Directory, Objects
from shmperf.fleet.wire import encode, message_id, partition_of, subject_of
from tests.support import Place, wait_until

__all__ = [
    "PARTITIONS",
    "Publishing",
    "bucket_url",
    "collect",
    "line",
    "numbers_in",
    "until_stored",
    "well",
]

PARTITIONS = 16
# Quick, for tests: what makes it quicker than the product's is what they wait for.
TERMS = {"every_s": 0.2, "lease_s": 2.0}


def line(number: int, day: int = 1) -> bytes:
    """A call's line as an outbox has it."""
    return (
        b'{"kind":"call","tool":"search","timestamp":"2026-01-%02dT10:00:00.123456+00:00","data":'
        b'{"t":"search","p":"{}","s":1767261600.12,"e":1767261600.13,"d":0.01,"id":"%016x",'
        b'"pid":77}}' % (day, number + 1)
    )


class Publishing:
    """Publishes lines of nodes, and remembers which ones."""

    def __init__(self, engine: Engine, stream: str = "shmperf") -> None:
        self.engine = engine
        self.stream = stream
        self.lines: Counter[tuple[str, str, int]] = Counter()
        engine.open()

    def send(self, node: str, first: int, after: int, *, cut: int = 50, **more: Any) -> None:
        """The lines from *first* to before *after*, in messages of *cut*; origin is the node's."""
        origin = more.get("origin", node.encode().ljust(16, b"."))
        ids = more.get("ids", "")
        futures = []
        for begin in range(first, after, cut):
            end = min(after, begin + cut)
            lines = [line(number, 1 + number % more.get("days", 1)) for number in range(begin, end)]
            body = encode(node, origin, begin, lines, more.get("dropped", 0))
            name = ids + message_id(origin, begin, end - begin)
            message = Message(subject_of(self.stream, node, PARTITIONS), name, body)
            futures.append(self.engine.publish(message))
            for number in range(begin, end):
                self.lines[node, origin.hex(), number] = 1
        for future in futures:
            future.result(60)

    def retry(self, node: str, first: int, after: int) -> None:
        """The same, again until it is taken: a leader may be elected."""

        def is_sent() -> bool:
            try:
                self.send(node, first, after)
            except EngineError:
                return False
            return True

        wait_until(is_sent, "the broker to take it")

    def send_raw(self, node: str, body: bytes, name: str) -> None:
        """Any bytes, where a node's batches go."""
        subject = subject_of(self.stream, node, PARTITIONS)
        self.engine.publish(Message(subject, name, body)).result(60)


def collect(
    place: Place, url: str, into: Path | str, *, terms: dict[str, Any] | None = None, **spec: Any
) -> subprocess.Popen[str]:
    """A collector as a process."""
    spec["terms"] = TERMS | (terms or {})
    return place.start_program("fleet/collect", url, str(into), json.dumps(spec))


def numbers_in(objects: Objects) -> Counter[tuple[str, str, int]]:
    """How often each line stands in the files that manifests name, by DuckDB alone."""
    assert isinstance(objects, Directory)
    found: Counter[tuple[str, str, int]] = Counter()
    for manifest in manifests_in(objects):
        for one in manifest.objects:
            assert one.kind in COLUMNS
            path = objects.root / one.name
            read = "read_parquet" if path.suffix == ".parquet" else "read_json"
            with duckdb.connect() as database:
                rows = database.execute(
                    f"SELECT node, origin, number FROM {read}('{path}')"  # noqa: S608
                ).fetchall()
            assert len(rows) == one.rows
            found.update(rows)
    return found


def well(objects: Objects, engine: Engine, published: Publishing) -> Checked:
    """Assert that all that was published is stored, and once, as two ways of counting say."""
    rows, found = numbers_in(objects), check(objects, engine)
    assert rows == published.lines, (rows - published.lines, published.lines - rows, found)
    assert found.ok, found
    assert sum(one.stored for one in found.nodes) == len(published.lines)
    assert not any(one.waiting for one in found.nodes)
    return found


def until_stored(objects: Objects, published: Publishing, asker: Engine | None = None) -> None:
    """
    Wait until as many rows are committed as lines were published: a manifest is in force.

    *asker* is who may read that, where who publishes may not.
    """
    engine = published.engine if asker is None else asker

    def rows() -> int:
        try:
            found = Manifests(engine, objects).in_force()
        except (EngineError, StoreError):
            return 0  # the broker is away, or a manifest has just been followed by another one
        return sum(one.rows for manifest in found for one in manifest.objects)

    wanted = len(published.lines)
    wait_until(lambda: rows() >= wanted, lambda: f"{wanted} rows; there are {rows()}")


def nodes_of(partitions: Sequence[int]) -> list[str]:
    """A node for each of *partitions*."""
    found = {}
    for number in range(10_000):
        found.setdefault(partition_of(f"node{number}", PARTITIONS), f"node{number}")
    return [found[partition] for partition in partitions]


def bucket_url(address: str, path: str) -> str:
    """What `--into` takes for the bucket of the fixture `s3`."""
    return f"s3://bucket/{path}?endpoint_override={address}&scheme=http&region=eu-west-1"
