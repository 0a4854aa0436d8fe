"""JetStream behind plain calls, with a real server that is killed and refuses."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from shmperf.fleet.engine import Away, Message, Refused, Stale
from shmperf.fleet.jetstream import JetStream
from shmperf.fleet.wire import partition_of, subject_of
from tests.support import DEADLINE_S, wait_until

from .broker import Broker, needs_broker

needs_broker()

PARTITION = partition_of("node", 16)
SUBJECT = subject_of("shmperf", "node", 16)


def message(number: int, body: bytes = b"body") -> Message:
    return Message(SUBJECT, f"id.{number}", body, {"Shmperf-Node": "node"})


def published(engine: JetStream, *numbers: int) -> list[tuple[int, bool]]:
    """Where each stands, and whether it stood there before; all in flight at once."""
    futures = [engine.publish(message(number)) for number in numbers]
    return [tuple(future.result(DEADLINE_S)) for future in futures]


def test_the_stream_is_made_once(broker: Broker) -> None:
    """Whoever comes first makes it; others find it, with its partitions."""
    engine, other = broker.connect(), broker.connect()
    assert engine.look() is None
    assert engine.open().partitions == other.open().partitions == 16
    found = other.look()
    assert found is not None
    assert (found.messages, found.replicas) == (0, 1)
    assert engine.most_bytes == 1 << 20


def test_what_is_published_is_kept_in_order_and_once(broker: Broker) -> None:
    """Several are under way at once; one that comes again is known by its id."""
    engine = broker.connect()
    engine.open()
    assert published(engine, *range(1, 51)) == [(number, False) for number in range(1, 51)]
    assert published(engine, 7, 51) == [(7, True), (51, False)]


def test_what_is_taken_comes_again_until_it_is_acknowledged(broker: Broker) -> None:
    """In order, with what was published; what is terminated or acknowledged is done with."""
    engine = broker.connect()
    engine.open()
    engine.make_consumer("store", PARTITION)
    engine.make_consumer("store", PARTITION)
    begun_s = time.monotonic()
    assert engine.take("store", 10, 0.2) == []
    assert engine.take("store", 10, 0) == []
    assert time.monotonic() - begun_s < DEADLINE_S
    published(engine, 1, 2, 3)
    first, *others = engine.take("store", 2, 1.0)
    assert (first.sequence, first.deliveries, first.body) == (1, 1, b"body")
    assert (first.subject, first.headers["Nats-Msg-Id"]) == (SUBJECT, "id.1")
    assert first.headers["Shmperf-Node"] == "node"
    assert abs(first.kept_ns - time.time_ns()) < 60e9
    assert [one.sequence for one in others] == [2]
    backlog = engine.backlog("store")
    assert (backlog.waiting, backlog.unacknowledged, backlog.acknowledged_to) == (1, 2, 0)
    engine.acknowledge([first])
    engine.terminate(others)
    (last,) = engine.take("store", 10, 1.0)
    engine.acknowledge([last])
    assert wait_until(lambda: engine.backlog("store").acknowledged_to == 3, "the last one")
    assert engine.backlog("store")[:2] == (0, 0)
    with pytest.raises(Refused):
        engine.backlog("nobody")


def test_many_are_taken_at_once(broker: Broker) -> None:
    """More than an answer holds, by two who share the work: each one once."""
    engine, other = broker.connect(), broker.connect()
    engine.open()
    engine.make_consumer("store", PARTITION)
    published(engine, *range(600))
    taken = engine.take("store", 250, 1.0) + other.take("store", 500, 1.0)
    assert sorted(one.sequence for one in taken) == list(range(1, 601))
    engine.acknowledge(taken)


def test_a_key_is_written_by_who_read_it_last(broker: Broker) -> None:
    """Compare-and-set: whoever comes second is told, and changes nothing."""
    engine = broker.connect()
    engine.open()
    assert engine.get("leases", "p00") is None
    first = engine.put("leases", "p00", b"a", 0)
    for revision in (0, first + 1):
        with pytest.raises(Stale):
            engine.put("leases", "p00", b"b", revision)
    second = engine.put("leases", "p00", b"c", first)
    found = engine.get("leases", "p00")
    assert found is not None
    assert found[:3] == ("p00", b"c", second)
    assert abs(found.written_ns - time.time_ns()) < 60e9
    with pytest.raises(Stale):
        engine.delete("leases", "p00", first)
    engine.delete("leases", "p00", second)
    assert engine.get("leases", "p00") is None
    assert engine.put("leases", "p00", b"d", 0) > second
    assert engine.put("leases", "p00", b"") > second
    assert engine.get("leases", "p00").value == b""


def test_what_has_changed_is_listed(broker: Broker) -> None:
    """All at first, then what is new; what was deleted is told; each key once."""
    engine = broker.connect()
    engine.open()
    assert engine.entries("nodes")[:3] == ([], [], 0)
    for number in range(300):
        engine.put("nodes", f"n{number}.x", b"%d" % number)
    engine.put("nodes", "n7.x", b"again")
    listing = engine.entries("nodes")
    assert len(listing.entries) == 300
    assert {one.key: one.value for one in listing.entries}["n7.x"] == b"again"
    assert listing.revision == 301
    assert abs(listing.now_ns - time.time_ns()) < 60e9
    assert engine.entries("nodes", listing.revision)[:3] == ([], [], 301)
    engine.delete("nodes", "n8.x")
    engine.put("nodes", "n9.x", b"new")
    later = engine.entries("nodes", listing.revision)
    assert [one.key for one in later.entries] == ["n9.x"]
    assert (later.gone, later.revision) == (["n8.x"], 303)


def test_a_server_that_is_away_is_told_and_found_again(broker: Broker) -> None:
    """Calls end soon, and say so; when it is back, so is what it had kept."""
    engine = broker.connect()
    engine.open()
    published(engine, 1, 2)
    broker.kill()
    with pytest.raises(Away):
        engine.publish(message(3)).result(DEADLINE_S)
    begun_s = time.monotonic()
    with pytest.raises(Away, match=re.escape("127.0.0.1")):
        wait_until(lambda: engine.get("nodes", "x"), "nothing")
    assert time.monotonic() - begun_s < DEADLINE_S / 2
    broker.start()

    def back() -> bool:
        try:
            return engine.open().messages == 2
        except Away:
            return False

    wait_until(back, "the server that is back")
    assert published(engine, 2, 3) == [(2, True), (3, False)]


def test_one_that_never_was_there_is_told(tmp_path: Path, broker: Broker) -> None:
    """Nobody waits for ever for a wrong address."""
    address = broker.url
    broker.stop()
    engine = broker.connect(url=address)
    for _ in range(3):
        with pytest.raises(Away, match="/\\*\\*\\*: "):
            engine.open()


def test_a_stream_of_somebody_else_is_refused(broker: Broker) -> None:
    """One of another version, too; nothing of it is changed."""
    for name, text in (("theirs", ""), ("newer", "shmperf/2 partitions=16")):
        broker.make_stream(name, text)
        with pytest.raises(Refused, match="found a stream"):
            broker.connect(name).open()
        with pytest.raises(Refused, match="found a stream"):
            broker.connect(name).look()


def test_a_closed_one_says_so(broker: Broker) -> None:
    """Whoever asks after the end is told; ending twice is nothing."""
    engine = broker.connect()
    engine.open()
    engine.close()
    engine.close()
    with pytest.raises(Away, match="closed"):
        engine.open()
