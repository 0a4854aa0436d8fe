"""Many objects become one, and what nobody reads goes: at each moment every row is there once."""

from __future__ import annotations

import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from bench.faults.points import points_in
from shmperf.errors import StoreError
from shmperf.fleet.checking import check
from shmperf.fleet.collecting import Collector, Terms
from shmperf.fleet.compaction import Sweep
from shmperf.fleet.datasets import COLUMNS
from shmperf.fleet.manifest import Manifest, Manifests, manifests_in, read_manifest
from shmperf.fleet.objects import Directory, Objects, opened_objects
from shmperf.fleet.reading import opened_records
from shmperf.testing import Clock
from tests.support import Place, needs, outputs, wait_until

from .broker import Broker, needs_broker
from .storing import Publishing, bucket_url, collect, numbers_in, until_stored, well

needs_broker()
needs("duckdb")

POINTS = sorted(points_in("fleet/compaction.py"))
QUICK = Terms(every_s=0.0, least_merged=4, grace_s=0.0)


@pytest.fixture
def published(broker: Broker) -> Publishing:
    return Publishing(broker.connect())


@pytest.fixture
def into(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "into")


@pytest.fixture
def collector_into(published: Publishing) -> Iterator[Callable[..., Collector]]:
    """Makes collectors in this process, whose steps the test takes itself."""
    made: list[Collector] = []

    def make(objects: Objects, terms: Terms = QUICK, **more: Any) -> Collector:
        said: list[str] = []
        found = Collector(published.engine, "shmperf", objects, terms, said.append, **more)
        found.said = said  # type: ignore[attr-defined]
        found.leases.step()
        made.append(found)
        return found

    yield make
    for one in made:
        one.leases.close()


def settle(collector: Collector) -> None:
    """Until there is nothing to do."""
    for _ in range(3):
        while collector.step():
            pass


def objects_of(manifests: list[Manifest]) -> list[str]:
    return [one.name for manifest in manifests for one in manifest.objects]


def test_small_objects_become_one(
    published: Publishing, into: Directory, collector_into: Callable[..., Collector]
) -> None:
    """By kind, day and node; a reader of the manifest of before still has its files."""
    collector = collector_into(into, Terms(every_s=0.0, least_merged=4, grace_s=900.0))
    settle(collector)
    for first in range(0, 60, 20):
        published.send("alpha", first, first + 20, days=2)
        settle(collector)
    before = manifests_in(into)
    assert len(objects_of(before)) == 6
    published.send("alpha", 60, 80, days=2)
    settle(collector)
    assert len(objects_of(manifests_in(into))) == 2
    well(into, published.engine, published)
    with opened_records(into, before) as database:
        (row,) = database.query("SELECT count(*), count(DISTINCT number) FROM calls").rows
    assert row == (60, 60)


def test_a_reader_sees_every_row_once_all_the_while(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """By manifests alone, while a collector writes and merges."""
    terms = {"every_s": 0.0, "least_merged": 4}
    collector = collect(place, broker.url, into.root, terms=terms)
    ended = threading.Event()
    wrong: list[object] = []
    looks = 0
    merges = 0

    def read() -> None:
        nonlocal looks, merges
        most = 0
        while not ended.is_set():
            rows = numbers_in(into)
            looks += 1
            merges += any(one.rows > 10 for m in manifests_in(into) for one in m.objects)
            if max(rows.values(), default=1) > 1 or len(rows) < most:
                wrong.append((max(rows.values()), len(rows), most))
            most = len(rows)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for first in range(0, 400, 10):
            published.send("alpha", first, first + 10)
            published.send("beta", first, first + 10)
        until_stored(into, published)
        wait_until(lambda: merges, "a merge that a reader has seen")
    finally:
        ended.set()
        reader.join()
    assert not wrong
    collector.terminate()
    place.finish(collector)
    well(into, published.engine, published)


@pytest.mark.parametrize("point", [*POINTS, "fleet-manifest", "fleet-commit", "fleet-committed"])
def test_killed_while_it_merges(
    place: Place, broker: Broker, published: Publishing, into: Directory, point: str
) -> None:
    """At each step; the next one merges again, and sweeps up what was left."""
    terms = {"every_s": 0.0, "least_merged": 2, "grace_s": 0.0}
    for round_ in range(2):
        for first in range(0, 60, 20):
            published.send("alpha", round_ * 60 + first, round_ * 60 + first + 20)
            one = collect(
                place, broker.url, into.root, terms=terms, until_empty=True, point=point, nth=2
            )
            outputs(one)
    last = collect(place, broker.url, into.root, terms=terms, until_empty=True)
    place.finish(last)
    well(into, published.engine, published)


def test_what_is_not_in_force_goes_after_its_time(
    published: Publishing, into: Directory, collector_into: Callable[..., Collector]
) -> None:
    """What was merged, and what an earlier epoch left; never what another one may be writing."""
    collector = collector_into(into, Terms(every_s=0.0, least_merged=2, grace_s=0.0))
    for first in range(0, 80, 20):
        published.send("alpha", first, first + 20)
        settle(collector)
    (manifest,) = manifests_in(into)
    clock = Clock()
    sweep = Sweep(into, "shmperf", clock, 900.0)
    holdings = list(collector._holdings.values())
    named = manifest.objects[0].name
    directory, _, last = named.rpartition("/")
    partition = last.partition("-")[0]
    dead = f"{directory}/{partition}-0-1-1-{'a' * 16}.parquet"
    later = f"{directory}/{partition}-9-1-1-{'a' * 16}.parquet"
    for name in (dead, later):
        into.write(name, b"x")
    sweep.step(holdings)
    clock.now_s += 800.0
    sweep.step(holdings)
    assert dead in into.names("calls")
    clock.now_s += 301.0
    assert sweep.step(holdings) >= 1
    assert dead not in into.names("calls")
    assert later in into.names("calls")
    assert set(objects_of(manifests_in(into))) <= set(into.names("calls"))
    assert manifests_in(into) == [manifest]
    well(into, published.engine, published)


def test_many_objects_are_named_in_lists(
    published: Publishing,
    into: Directory,
    collector_into: Callable[..., Collector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A manifest stays small; readers see all, and a sweep by a later holder deletes none."""
    shortened = Manifests.shortened
    monkeypatch.setattr(Manifests, "shortened", lambda self, manifest: shortened(self, manifest, 6))
    collector = collector_into(into, Terms(every_s=0.0, least_merged=100))
    for turn in range(12):
        published.send("alpha", turn * 20, turn * 20 + 20, days=2)
        settle(collector)
    names = [name for name in into.names("manifest") if "list-" not in name]
    assert max(len(read_manifest(into, name).objects) for name in names) <= 6
    assert len(objects_of(manifests_in(into))) == 24
    well(into, published.engine, published)
    collector.leases.close()
    monkeypatch.undo()
    # Of a later epoch, to which all that is not named is dead.
    published.send("alpha", 240, 260)
    later = collector_into(into, Terms(every_s=0.0, least_merged=3, grace_s=0.0))
    settle(later)
    clock = Clock()
    sweep = Sweep(into, "shmperf", clock, 900.0)
    for _ in range(5):
        sweep.step(list(later._holdings.values()))
        clock.now_s += 400.0
    assert set(into.names("calls")) == set(objects_of(manifests_in(into)))
    well(into, published.engine, published)


class Failing:
    """A place of somebody else's that fails as it is told: the next writes, each by an error."""

    def __init__(self, inner: Objects) -> None:
        self.inner = inner
        self.failures: list[str] = []

    def write(self, name: str, body: bytes) -> None:
        if self.failures:
            failure = self.failures.pop()
            if failure == "half":
                self.inner.write(name, body[: len(body) // 2])
            if failure == "late":
                self.inner.write(name, body)
            raise StoreError(f"it failed: {failure}")
        self.inner.write(name, body)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def test_a_place_that_refuses_throttles_or_keeps_half(
    published: Publishing, into: Directory, collector_into: Callable[..., Collector]
) -> None:
    """The same is written again until it is taken; nothing is lost, and nothing twice."""
    failing, clock = Failing(into), Clock()
    collector = collector_into(failing, Terms(every_s=0.0), clock=clock)
    for turn, failure in enumerate(["SlowDown", "half", "late", "AccessDenied"] * 2):
        published.send("alpha", turn * 30, turn * 30 + 30)
        failing.failures = [failure] * (1 + turn % 3)
        for _ in range(12):
            clock.now_s += 1.0
            collector.leases.step()
            settle(collector)
    assert not failing.failures
    assert any("SlowDown" in text for text in collector.said)  # type: ignore[attr-defined]
    assert collector.said[-1].endswith("goes on")  # type: ignore[attr-defined]
    well(into, published.engine, published)


def test_a_full_disk_is_waited_for(
    published: Publishing,
    into: Directory,
    collector_into: Callable[..., Collector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is lost, it is told once, and when there is room it goes on."""
    clock = Clock()
    collector = collector_into(into, Terms(every_s=0.0), clock=clock)
    published.send("alpha", 0, 50)
    settle(collector)
    real = os.write

    def full(fd: int, body: bytes) -> int:
        path = Path(f"/proc/self/fd/{fd}").readlink()
        if into.root in path.parents:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(fd, body)

    monkeypatch.setattr(os, "write", full)
    published.send("alpha", 50, 500)
    for _ in range(6):
        clock.now_s += 1.0
        collector.leases.step()
        settle(collector)
    told = [text for text in collector.said if "No space left" in text]  # type: ignore[attr-defined]
    assert told
    monkeypatch.undo()
    for _ in range(70):
        clock.now_s += 1.0
        collector.leases.step()
        settle(collector)
    well(into, published.engine, published)


def test_a_bucket_is_collected_into_and_asked(
    place: Place,
    broker: Broker,
    published: Publishing,
    s3: str,
    tmp_path: Path,
) -> None:
    """Over S3, by a process; read by Arrow, and by `check`."""
    url = bucket_url(s3, tmp_path.name)
    published.send("alpha", 0, 200, days=3)
    published.send("beta", 0, 100)
    collector = collect(place, broker.url, url, until_empty=True)
    place.finish(collector)
    objects = opened_objects(url)
    found = check(objects, published.engine)
    assert found.ok
    assert {one.node: one.stored for one in found.nodes} == {"alpha": 200, "beta": 100}
    with opened_records(objects) as database:
        rows = database.query("SELECT node, number FROM calls").rows
        assert Counter(rows) == Counter((node, number) for node, _, number in published.lines)


def test_files_of_an_older_schema_are_read(
    published: Publishing,
    into: Directory,
    collector_into: Callable[..., Collector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A column that came later is NULL in them, also where they were merged with newer ones."""
    collector = collector_into(into, Terms(every_s=0.0, least_merged=3))
    older = {name: type_ for name, type_ in COLUMNS["calls"].items() if name != "status"}
    with monkeypatch.context() as patch:
        patch.setitem(COLUMNS, "calls", older)  # type: ignore[arg-type]
        published.send("alpha", 0, 20)
        settle(collector)
    path = into.root / objects_of(manifests_in(into))[0]
    assert "status" not in duckdb.read_parquet(str(path)).columns
    query = "SELECT status, count(*) FROM calls GROUP BY status ORDER BY status NULLS FIRST"
    with opened_records(into) as database:
        assert list(database.query(query).rows) == [(None, 20)]
    for first in (20, 40):
        published.send("alpha", first, first + 20)
        settle(collector)
    assert len(objects_of(manifests_in(into))) == 1
    with opened_records(into) as database:
        assert list(database.query(query).rows) == [(None, 20), ("ok", 40)]
    well(into, published.engine, published)
