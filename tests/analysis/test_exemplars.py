"""Exemplars: which calls stay, what bounds them, and the same after a restart."""

from __future__ import annotations

import json
import random

import msgspec
import pytest

from shmperf.analysis.branches import Tree
from shmperf.analysis.exemplars import MOST, Exemplar, Exemplars, ExemplarsDelta, Subtree
from shmperf.analysis.lately import Node
from shmperf.shm.record import Call, Detail, Outcome

Kinds = dict[int, list[str]]


def call(number: int, duration_ns: int, status: int = Outcome.OK, tool: str = "a") -> Call:
    return Call(tool, number, 9, 0, number * 1000, duration_ns, status, "{}")


def calls_of(exemplars: list[Exemplar]) -> list[Call]:
    return [one.call for one in exemplars]


def kinds_of(exemplars: Exemplars) -> Kinds:
    return {one.call.id: kinds for one, kinds in exemplars}


def through_msgpack(delta: ExemplarsDelta | None) -> ExemplarsDelta:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=ExemplarsDelta)


def test_the_slowest_and_the_latest_failed_stay() -> None:
    """Of any order of calls, ten of each; one call may be both; the floor is the tenth slowest."""
    rng = random.Random(12)  # noqa: S311  the same calls in each run
    calls = [
        call(number, rng.randrange(10**9), rng.choice((0, 0, 1, 2, 3))) for number in range(1, 500)
    ]
    live, read = Exemplars(), Exemplars()
    for at in range(0, len(calls), 7):
        for one in calls[at : at + 7]:
            live.add(one)
        read.apply(through_msgpack(live.take_delta()))
    slowest = sorted(calls, key=lambda one: -(one.duration_ns or 0))[:MOST]
    failed = sorted((one for one in calls if one.status in (1, 2)), key=lambda o: o.end_ns)[-MOST:]
    written = msgspec.msgpack.encode(live.state())
    again = Exemplars.restore(msgspec.msgpack.decode(written, type=dict[str, list[Exemplar]]))
    for found in (live, read, again):
        assert calls_of(found.slowest(5)) == slowest[:5]
        assert calls_of(found.slowest(3, "a")) == slowest[:3]
        assert found.slowest(3, "b") == []
        kinds = kinds_of(found)
        assert {i for i, names in kinds.items() if "slow" in names} == {o.id for o in slowest}
        assert {i for i, names in kinds.items() if "failed" in names} == {o.id for o in failed}
        assert found.floors == {"a": slowest[-1].duration_ns}
        assert found.waiting == found.known.keys() == kinds.keys()
    live.clear()
    assert (kinds_of(live), live.floors, live.waiting) == ({}, {}, set())


def test_cancelled_calls_are_not_failed() -> None:
    """They would push out those that tell something."""
    exemplars = Exemplars()
    for number in range(1, 30):
        exemplars.add(call(number, 0 if number == 1 else number, 1 if number == 1 else 3))
    exemplars.take_delta()
    assert kinds_of(exemplars)[1] == ["failed"]


def test_of_many_tools_fewer_calls_each() -> None:
    """The number of exemplars is bounded, and each tool's slowest is never let go."""
    exemplars = Exemplars(most_calls=100)
    for number in range(100):
        for duration in range(20):
            exemplars.add(call(number * 100 + duration + 1, duration, 1, f"t{number}"))
        exemplars.take_delta()
        assert len(exemplars.known) <= 200
    assert len(exemplars.known) == 100
    assert {one.duration_ns for one in calls_of(exemplars.slowest(1000))} == {19}
    assert exemplars.floors == {f"t{number}": 19 for number in range(100)}
    again = Exemplars(most_calls=100)
    for kept in exemplars.state().values():
        for one in kept:
            again.add(one.call)
    again.take_delta()
    assert kinds_of(again) == kinds_of(exemplars)


def test_a_settled_call_has_what_lay_below_it() -> None:
    """Live and through a delta; of one recorded in detail its children as well."""
    live, read = Exemplars(), Exemplars()
    nodes = [Node(7, 1, "leaf", 5, 3)]
    plain, detailed = call(1, 10), call(2, 20)
    detailed.detail = Detail()
    for one in (plain, detailed, call(3, 30)):
        live.add(one)
    live.settle(Subtree.of(1, Tree(nodes, False), 100))
    assert live.has_settled
    read.apply(through_msgpack(live.take_delta()))
    assert not live.has_settled
    late = Subtree.of(2, Tree(nodes, True), 0)
    late.children, late.totals, late.self_ns = [7], {"leaf": (1, 3)}, 17
    live.settle(late)
    live.settle(Subtree.of(99, Tree(nodes, False), 0))
    read.apply(through_msgpack(live.take_delta()))
    for found in (live, read):
        assert found.known[1].nodes() == [Node(7, 1, "leaf", 105, 3)]
        assert (found.known[1].is_cut, found.known[2].is_cut) == (False, True)
        assert found.known[2].call.detail == Detail(
            children=[7], totals={"leaf": (1, 3)}, self_ns=17
        )
        assert found.known[3].nodes() == []
        assert found.waiting == {3}


def test_texts_are_cut_and_stay_json() -> None:
    """Of calls in detail everything is bounded and says so; the call itself stays whole."""
    exemplars = Exemplars()
    long = "x" * 100_000
    params = json.dumps({"n": long})
    detail = Detail(error=long, metadata=params)
    given = Call("a", 1, 9, 0, 0, 5, Outcome.ERROR, params, detail=detail)
    exemplars.add(given)
    exemplars.take_delta()
    (kept,) = calls_of(exemplars.slowest(1))
    assert kept.truncated
    assert kept.detail is not None
    assert len(kept.params) + len(kept.detail.error or "") < 40_000
    assert json.loads(kept.params)["…"].startswith('{"n": "xxx')
    assert json.loads(kept.detail.metadata or "")["…"].startswith('{"n": "xxx')
    assert (given.params, detail.error) == (params, long)


@pytest.mark.parametrize("in_detail", [False, True])
def test_bytes_are_bounded(in_detail: bool) -> None:
    """Once they are filled, further exemplars have a summary alone, and no calls below."""
    exemplars = Exemplars(most_bytes=50_000)
    nodes = [Node(number, 1, "leaf", number, 3) for number in range(1, 200)]
    params = json.dumps({"n": "y" * 10_000})
    for number in range(1, 200):
        one = call(number, number, tool=f"t{number}")
        one.params = params
        one.detail = Detail() if in_detail else None
        exemplars.add(one)
        exemplars.settle(Subtree.of(number, Tree(nodes, False), 0))
        exemplars.take_delta()
    size = sum(one.size_bytes for one in exemplars.known.values())
    assert size < 50_000 + 20_000 + 200 * 300
    assert len(exemplars.known) == 199
    newest = exemplars.known[199]
    assert (newest.below, newest.is_cut, newest.call.truncated) == (b"", True, True)


def test_damaged_nodes_are_none() -> None:
    """What a journal holds is not believed."""
    exemplars = Exemplars()
    exemplars.add(call(1, 1))
    exemplars.settle(Subtree(1, b"\xc1", is_cut=False))
    exemplars.take_delta()
    assert exemplars.known[1].nodes() == []
