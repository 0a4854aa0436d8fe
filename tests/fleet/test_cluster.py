"""Three servers, by the configuration that we give to users: what is kept outlives one of them."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path

import nats
import pytest
from nats.aio.msg import Msg

from shmperf.fleet.engine import Away, EngineError, Message, Refused
from shmperf.fleet.jetstream import JetStream
from shmperf.fleet.wire import partition_of, subject_of
from tests.support import DEADLINE_S, Place, wait_until

from .broker import needs_broker
from .cluster import PASSWORDS, Cluster
from .node import NODE, Node, configure
from .taking import Everything

needs_broker()

DENIED = re.compile("permissions violation", re.IGNORECASE)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """All three, up."""
    found = Cluster(tmp_path / "cluster")
    try:
        yield found.start()
    finally:
        found.close()


def test_a_node_publishes_while_servers_are_killed(place: Place, cluster: Cluster) -> None:
    """One after the other, with what it had; with one alone nothing is acknowledged, or lost."""
    configure(place, cluster.url("node"))
    node = Node(place)
    node.make(50)
    wait_until(lambda: node.publisher().get("sent") == 100, lambda: f"all: {node.publisher()}")
    collector = cluster.connect("collect")
    stream = collector.look()
    assert stream is not None
    assert stream.replicas == 3
    # All that it tells of itself is within what a node may.
    wait_until(lambda: collector.entries("facts").entries, lambda: f"facts: {node.publisher()}")
    assert collector.entries("nodes").entries
    assert node.publisher()["problem"] is None
    for name in "ab":
        cluster.kill(name)
        node.make(50)
        if name == "b":
            wait_until(lambda: node.publisher().get("problem"), "the two to be missed")
            node.make(50)
            cluster.start("b")
    ids = node.end()
    again = Node(place)
    again.make(1)
    again.publish_rest()
    ids = again.end()
    assert len(ids) == 402
    found = Everything(collector, NODE)

    def has_all() -> bool:
        try:
            return {one["data"]["id"] for one in found.take().calls} == ids
        except EngineError:
            return False

    wait_until(has_all, "every call")
    logs = "".join(cluster.log(name).read_text() for name in "abc")
    assert not [word for word in PASSWORDS.values() if word in logs]


def test_each_user_may_do_its_part_and_no_more(cluster: Cluster) -> None:
    """A node takes no records of others; who asks writes nothing. Told, and not after hours."""
    node, collect, ask = map(cluster.connect, ("node", "collect", "ask"))
    wait_until(lambda: opened(node), "the stream")
    subject = subject_of("shmperf", "node", 16)
    assert node.publish(Message(subject, "1", b"body")).result(DEADLINE_S).sequence == 1
    revision = node.put("facts", "node.x", b"facts", 0)
    node.put("presence", "node", b"who")
    assert [one.value for one in node.entries("facts").entries] == [b"facts"]
    partition = partition_of("node", 16)
    with pytest.raises(Refused, match=DENIED):
        node.make_consumer("store", partition)
    with pytest.raises(Refused, match=DENIED):
        node.put("leases", "p00", b"mine")
    collect.make_consumer("store", partition)
    (taken,) = collect.take("store", 1, 5.0)
    collect.acknowledge([taken])
    collect.put("leases", "p00", b"mine", 0)
    assert [one.revision for one in ask.entries("facts").entries] == [revision]
    with pytest.raises(Refused, match=DENIED):
        ask.put("facts", "node.x", b"")


def test_a_node_overhears_nobody(cluster: Cluster) -> None:
    """What others are answered comes to inboxes of their users' own; no copy can be made."""
    node, collect, ask = map(cluster.connect, ("node", "collect", "ask"))
    wait_until(lambda: opened(node), "the stream")
    heard, complaints = list[bytes](), list[str]()

    def work() -> None:
        message = Message(subject_of("shmperf", "node", 16), "1", b"what a node did")
        node.publish(message).result(DEADLINE_S)
        node.put("nodes", "node.x", b"what a node says")
        collect.make_consumer("store", partition_of("node", 16))
        (taken,) = collect.take("store", 1, 5.0)
        assert taken.body == b"what a node did"
        assert [one.value for one in ask.entries("nodes").entries] == [b"what a node says"]

    async def listen() -> None:
        async def hear(message: Msg) -> None:
            heard.append(message.data)

        async def complain(error: Exception) -> None:
            complaints.append(str(error))

        spy = await nats.connect(cluster.url("node", "a"), error_cb=complain)
        try:
            for others in (">", "*.>", "_INBOX.>", "_INBOX_collect.>", "_INBOX_ask.>"):
                await spy.subscribe(others, cb=hear)
            await spy.flush()
            copy = {"name": "copy", "mirror": {"name": "shmperf"}}
            await spy.publish("$JS.API.STREAM.CREATE.copy", json.dumps(copy).encode())
            await asyncio.to_thread(work)
            await spy.flush()
        finally:
            await spy.close()

    asyncio.run(listen())
    assert heard == []
    assert len([one for one in complaints if DENIED.search(one)]) == 6


def opened(engine: JetStream) -> bool:
    try:
        return engine.open().replicas == 3
    except Away:
        return False
