"""Real nodes, a real server, and kill -9 of any of them: every call is published, and once."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from shmperf.fleet.numbers import runs_of
from shmperf.fleet.publisher import CONSUMER
from shmperf.storage.consumer import Consumer
from shmperf.storage.origin import origin_of
from tests.support import PYTHON, Place, outputs, wait_until

from .broker import Broker, needs_broker
from .node import NODE, Node, configure
from .taking import Everything, fill

needs_broker()


def ids_of(found: Everything) -> list[str]:
    return [call["data"]["id"] for call in found.calls]


def test_whoever_is_killed_no_call_is_lost(place: Place, broker: Broker) -> None:
    """Publisher, server and collector, again and again; the stream has what history has."""
    configure(place, broker.url)
    node = Node(place)
    node.make(50)
    for turn in range(4):
        os.kill(wait_until(lambda: node.publisher().get("pid"), "one"), signal.SIGKILL)
        node.make(50)
        broker.kill()
        node.make(50)
        if turn % 2:
            os.kill(place.collector_pid(), signal.SIGKILL)
        node.make(50)
        broker.start()
        wait_until(lambda: node.publisher().get("pid"), "the publisher to come again")
    found = Everything(broker.connect(), NODE)
    wait_until(lambda: len(ids_of(found.take())) == 2 * 650, "the last call")
    report = wait_until(
        lambda: (one := node.publisher()).get("waiting") == 0 and one, "what waits to be none"
    )
    assert (report["dropped"], report["problem"]) == (0, None)
    ids = node.end()
    wait_until(lambda: sorted(ids_of(found.take())) == sorted(ids), "all, once")
    # As they stand in the outbox: those of a tool in the order of its history.
    searches = [call["data"]["id"] for call in found.calls if call["tool"] == "search"]
    assert searches == [line["data"]["id"] for line in place.lines("search")]
    (origin,) = found.lines
    assert origin == origin_of(place.storage)
    (covered,) = found.have[origin].encode()
    (run,) = runs_of(place.storage)
    assert covered == (run.first, run.after)


def test_what_waits_is_sent_before_a_session_ends(place: Place, broker: Broker) -> None:
    """A program of a second publishes all that it did; nothing waits for the next one."""
    configure(place, broker.url)
    node = Node(place)
    node.make(300)
    ids = node.end()
    found = Everything(broker.connect(), NODE)
    # The session has gone before its sidecars have.
    wait_until(lambda: set(ids_of(found.take())) == ids, "all calls")
    assert len(ids) == 600


def test_a_session_without_its_broker_leaves_all_to_the_next(place: Place, broker: Broker) -> None:
    """It ends in its time, and what it did is published when somebody can."""
    configure(place, broker.url)
    broker.stop()
    node = Node(place)
    node.make(20)
    node.end()
    broker.start()
    again = Node(place)
    again.make(1)
    ids = again.end()
    assert len(ids) == 42
    found = Everything(broker.connect(), NODE)
    wait_until(lambda: set(ids_of(found.take())) == ids, "both sessions' calls")


POINTS = ("fleet-numbers", "fleet-told", "fleet-sent", "fleet-kept", "outbox-acknowledge")


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_point_it_loses_nothing(
    place: Place, broker: Broker, point: str, nth: int
) -> None:
    """Before and after each step of publishing; what came twice is known by its number."""
    consumer = Consumer(place.storage, CONSUMER)
    consumer.register()
    consumer.close()
    stamp = "2026-11-29T12:00:00.000000+00:00"
    data = [{"d": 0.5, "id": f"{number:016x}"} for number in range(9_000)]
    lines = [{"kind": "call", "tool": "t", "timestamp": stamp, "data": one} for one in data]
    fill(place.storage, *(json.dumps(line) for line in lines), most_bytes=1 << 28)
    arguments = (str(place.storage), broker.url, point)
    root = str(Path(__file__).parents[2])
    killed = place.start_program("fleet/publish_and_die", *arguments, str(nth), PYTHONPATH=root)
    outputs(killed)
    assert killed.returncode == -signal.SIGKILL
    place.run_program("fleet/publish_and_die", *arguments, "0", PYTHONPATH=root)
    found = Everything(broker.connect(), "node").take()
    assert ids_of(found) == [one["id"] for one in data]
    assert found.have[origin_of(place.storage)].encode() == [(0, 9_000)]


def test_without_a_fleet_nothing_of_it_is_imported(place: Place) -> None:
    """By a program, its collector, or a command."""
    code = (
        "import sys, shmperf, shmperf.collector.service, shmperf.commands.main; "
        "sys.exit(any(name.startswith(('shmperf.fleet', 'nats')) for name in sys.modules))"
    )
    place.run(PYTHON, "-c", code)
