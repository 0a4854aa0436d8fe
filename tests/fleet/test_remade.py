"""Streams that are not what they were: made anew, cut short, or two of them into one place."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shmperf.errors import StoreError
from shmperf.fleet.checking import check
from shmperf.fleet.collecting import Collector, Terms
from shmperf.fleet.engine import Backlog, Engine, Taken
from shmperf.fleet.manifest import manifest_names, manifests_in
from shmperf.fleet.objects import Directory
from shmperf.fleet.wire import partition_of
from shmperf.testing import Clock
from tests.support import Place, needs, outputs, wait_until

from .broker import Broker, needs_broker
from .storing import PARTITIONS, Publishing, collect, nodes_of, numbers_in, well

needs_broker()
needs("duckdb")

QUICK = Terms("jsonl", every_s=0.0, grace_s=0.0, lease_s=1.0)


@pytest.fixture
def published(broker: Broker) -> Publishing:
    return Publishing(broker.connect())


@pytest.fixture
def into(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "into")


def finish(engine: Engine, into: Directory, stream: str = "shmperf") -> None:
    """Collect until nothing waits."""
    Collector(engine, stream, into, QUICK, print).run(threading.Event(), until_empty=True)


def lying(objects: Directory) -> list[str]:
    """All that is there."""
    return objects.names("calls") + objects.names("manifest")


def remake(broker: Broker, published: Publishing) -> None:
    """The stream, empty; buckets stay."""
    broker.delete("shmperf")
    published.engine.open()


def test_a_place_belongs_to_one_stream(broker: Broker, into: Directory) -> None:
    """Another one is refused, told whose it is, and changes nothing; in other partitions, too."""
    prod, stag = (Publishing(broker.connect(name), name) for name in ("prod", "stag"))
    first, second = nodes_of([3, 5])
    prod.send(first, 0, 30)
    finish(prod.engine, into, "prod")
    before = lying(into)
    for node in (first, second):
        stag.send(node, 0, 5, origin=b"s" * 16)
    with pytest.raises(StoreError, match="belongs to the stream prod, not to stag"):
        finish(stag.engine, into, "stag")
    assert lying(into) == before
    with pytest.raises(StoreError, match="belongs to the stream prod, not to stag"):
        check(into, stag.engine)
    well(into, prod.engine, prod)


def test_two_streams_that_begin_at_once_keep_apart(broker: Broker, into: Directory) -> None:
    """Both have claimed an empty place: who commits second does not, and sweeps nothing."""
    prod, stag = (Publishing(broker.connect(name), name) for name in ("prod", "stag"))
    said: list[str] = []
    late = Collector(stag.engine, "stag", into, QUICK, said.append)
    late.leases.step()
    late.step()
    stag.send("alpha", 0, 5, origin=b"s" * 16)
    prod.send("alpha", 0, 30)
    finish(prod.engine, into, "prod")
    before = lying(into)
    late.step()
    late.step()
    assert any("belongs to the stream prod, not to stag" in text for text in said)
    with pytest.raises(StoreError, match="belongs to the stream prod"):
        late._sweep.step(list(late._holdings.values()), now=True)
    late.leases.close()
    assert lying(into) == before
    well(into, prod.engine, prod)


def test_manifests_of_two_streams_are_told(broker: Broker, into: Directory) -> None:
    """Without a broker, too: whose place it is, nobody can say."""
    for name, node in zip(("prod", "stag"), nodes_of([3, 5]), strict=True):
        own = Publishing(broker.connect(name), name)
        own.send(node, 0, 10)
        other = Directory(into.root.with_name(name))
        finish(own.engine, other, name)
        for file in lying(other):
            into.write(file, other.read(file))
    with pytest.raises(StoreError, match="belongs to the stream stag, not to prod"):
        check(into, None)


@pytest.mark.parametrize("count", [5, 60])
def test_a_stream_made_anew_is_taken_from_its_first_message(
    broker: Broker, published: Publishing, into: Directory, count: int
) -> None:
    """Whether it is shorter by now than the former one was, or longer."""
    published.send("alpha", 0, 10, cut=1)
    finish(published.engine, into)
    remake(broker, published)
    published.send("alpha", 10, 10 + count, cut=1)
    (found,) = check(into, published.engine).nodes
    assert (found.waiting, found.lost) == (count, 0)
    finish(published.engine, into)
    well(into, published.engine, published)


def test_a_stream_made_anew_while_somebody_collects(
    broker: Broker, published: Publishing, into: Directory
) -> None:
    """Its consumer is gone with the former one; what it had taken is there."""
    clock = Clock()
    collector = Collector(published.engine, "shmperf", into, QUICK, print, clock)
    collector.leases.step()
    for partition in set(range(PARTITIONS)) - {partition_of("alpha", PARTITIONS)}:
        # Each would notice for itself, by a request that nobody answers.
        collector.leases.let_go(partition)
    published.send("alpha", 0, 10, cut=1)
    steps(collector, clock)
    remake(broker, published)
    published.send("alpha", 10, 70, cut=1)
    steps(collector, clock)
    well(into, published.engine, published)
    collector.leases.close()


def steps(collector: Collector, clock: Clock) -> None:
    """Until there is nothing to do, pauses included."""
    for _ in range(4):
        while collector.step():
            pass
        clock.now_s += 100.0


@pytest.mark.parametrize("change", [remake, lambda broker, _: broker.purge("shmperf")])
def test_a_sealed_cut_of_a_stream_that_is_gone(
    place: Place,
    broker: Broker,
    published: Publishing,
    into: Directory,
    change: Callable[[Broker, Publishing], None],
) -> None:
    """Killed behind the seal: its end is that of other messages, and is nobody's end any more."""
    published.send("alpha", 0, 20, cut=1)
    died = collect(place, broker.url, into.root, point="fleet-sealed")
    outputs(died)
    assert not manifest_names(into)
    change(broker, published)
    published.lines.clear()
    published.send("alpha", 20, 25, cut=1)
    finish(published.engine, into)
    published.send("alpha", 25, 65, cut=1)
    finish(published.engine, into)
    assert numbers_in(into) == published.lines
    (found,) = check(into, published.engine).nodes
    assert (found.stored, found.lost, found.waiting) == (45, 0, 0)


class Behind:
    """An engine whose consumers are on a server that is behind: it has *seen* so many messages."""

    def __init__(self, engine: Engine, seen: int) -> None:
        self._engine = engine
        self.seen = seen

    def take(self, name: str, most: int, wait_s: float) -> list[Taken]:
        most = min(most, self.seen)
        found = self._engine.take(name, most, wait_s) if most else []
        self.seen -= len(found)
        return found

    def backlog(self, name: str) -> Backlog:
        found = self._engine.backlog(name)
        return found if self.seen else found._replace(waiting=0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


@pytest.mark.parametrize("seen", [0, 7])
def test_a_server_that_is_behind_hides_no_message(
    place: Place, broker: Broker, published: Publishing, into: Directory, seen: int
) -> None:
    """Of a sealed cut no more comes, though it is all there: what comes later is stored, too."""
    published.send("alpha", 0, 20, cut=1)
    died = collect(place, broker.url, into.root, point="fleet-sealed")
    outputs(died)
    behind, clock = Behind(published.engine, seen), Clock()
    collector = Collector(behind, "shmperf", into, QUICK, print, clock)

    def takes_over() -> bool:
        clock.now_s += 1.0
        collector.leases.step()
        return partition_of("alpha", PARTITIONS) in collector.leases.held()

    wait_until(takes_over, "the lease of who was killed")
    steps(collector, clock)
    assert len(numbers_in(into)) == seen
    behind.seen = 1_000
    steps(collector, clock)
    collector.leases.close()
    assert numbers_in(into) == published.lines
    (found,) = check(into, published.engine).nodes
    assert (found.stored, found.lost, found.waiting) == (20, 0, 0)


def test_a_fault_that_lasts_ends_who_is_to_end(published: Publishing, into: Directory) -> None:
    """Told in one line, when all else is stored; who is to go on would try for ever."""
    first, second = nodes_of([3, 5])
    published.send(first, 0, 10)
    finish(published.engine, into)
    for name in into.names("manifest"):
        into.delete(name)
    published.send(second, 0, 10)
    said: list[str] = []
    collector = Collector(
        published.engine, "shmperf", into, QUICK, said.append, lambda: 5 * time.monotonic()
    )
    with pytest.raises(StoreError, match=r"p03: .*/manifest/p03/.*No such file"):
        collector.run(threading.Event(), until_empty=True)
    (found,) = manifests_in(into)
    assert (found.partition, sum(one.rows for one in found.objects)) == (5, 10)


def test_the_command_says_whose_place_it_is(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """In one line, and ends with 1; `check` too."""
    published.send("alpha", 0, 10)
    finish(published.engine, into)
    Publishing(broker.connect("stag"), "stag")
    more = ("--url", broker.url, "--stream", "stag")
    for command in (("collect", "--into", str(into.root)), ("check", "--from", str(into.root))):
        program = place.start_module("fleet", *command, *more)
        place.finish(program, code=1)
        told = program.error_text.splitlines()  # type: ignore[attr-defined]
        assert "belongs to the stream shmperf, not to stag" in told[-1]


def test_what_a_collector_leaves_at_the_broker_goes_in_a_day(
    broker: Broker, published: Publishing, into: Directory
) -> None:
    """Its consumers, its leases and what tells that it was there; not the heads, which lead on."""
    published.send("alpha", 0, 10)
    finish(published.engine, into)
    published.engine.make_consumer("left", 3)
    found = broker._ask("CONSUMER.INFO.shmperf.left", {})["config"]
    assert found["inactive_threshold"] == 86_400 * 10**9
    ages = {
        name: broker._ask(f"STREAM.INFO.KV_shmperf_{name}", {})["config"]["max_age"]
        for name in ("leases", "manifests")
    }
    assert ages == {"leases": 86_400 * 10**9, "manifests": 0}
    epochs = [one.epoch for one in manifests_in(into)]
    broker.purge("KV_shmperf_leases")
    published.send("alpha", 10, 30)
    finish(published.engine, into)
    well(into, published.engine, published)
    assert [one.epoch for one in manifests_in(into)] > epochs


def test_a_consumer_that_was_forgotten_is_made_again(
    broker: Broker, published: Publishing, into: Directory
) -> None:
    """Who took nothing for a day, with a disk that was full, goes on from its manifest."""
    clock = Clock()
    collector = Collector(published.engine, "shmperf", into, QUICK, print, clock)
    collector.leases.step()
    mine = partition_of("alpha", PARTITIONS)
    for partition in set(range(PARTITIONS)) - {mine}:
        collector.leases.let_go(partition)
    published.send("alpha", 0, 10)
    steps(collector, clock)
    (name,) = broker._ask("CONSUMER.NAMES.shmperf", {})["consumers"]
    broker._ask(f"CONSUMER.DELETE.shmperf.{name}", {})
    published.send("alpha", 10, 30)
    steps(collector, clock)
    well(into, published.engine, published)
    collector.leases.close()
