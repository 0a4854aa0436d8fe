"""The live terminal and the page show a fleet as they show a session: each node as a worker."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit

import pytest
from textual.pilot import Pilot

from shmperf.analysis.packedtotals import IntervalTotals, Packed
from shmperf.analysis.shownalert import ShownAlert
from shmperf.analysis.spans import IntervalsView
from shmperf.fleet.answers import Source
from shmperf.fleet.asking import States
from shmperf.fleet.engine import Engine
from shmperf.fleet.ownkey import OwnState
from shmperf.fleet.snapshot import bounded, encode
from shmperf.fleet.trends import TREND, decode_trend, encode_trend
from shmperf.fleet.wire import key_of
from shmperf.query.look import Watch
from shmperf.query.trend import trend
from shmperf.session.messages import OpenCallAnswer
from shmperf.views.live.app import Top
from tests.support import DEADLINE_S, Place, wait_until

from .broker import Broker, needs_broker
from .saying import Made, snapshot_of

needs_broker()

BEGAN_S = 1_799_999_970


def _said(engine: Engine, name: str, number: int, calls: list[Made]) -> None:
    origin = bytes(15) + bytes([number])
    snapshot = snapshot_of(calls, name, origin.hex())
    snapshot.figures.books = snapshot.figures.books.__class__(begun=len(calls) + 1)
    opened = {"params": '{"q":1}', "parent": None, "started": 0.0, "running_s": 10.0 + number}
    snapshot.open = [OpenCallAnswer(id=f"{1:016x}", tool="fetch", pid=7, chain=["top"], **opened)]  # type: ignore[arg-type]  # fields by name
    alert = {"kind": "errors", "severity": "warning", "began": "2026-01-01", "ended": None}
    text = f"fetch fails on {name}"
    snapshot.alerts = [ShownAlert(id=name, tool="fetch", text=text, evidence={}, **alert)]  # type: ignore[arg-type]  # the same
    key = key_of(name, origin)
    OwnState(engine, "nodes", key).put(encode(bounded(snapshot, with_arguments=True)))
    engine.put("nodes", key + TREND, encode_trend(_intervals(number)))


def _intervals(calls: int) -> IntervalsView:
    totals = IntervalTotals(count=calls, sum_ns=calls * 10**6, min_ns=10**6, max_ns=10**6)
    totals.histogram = {-160: calls}
    packed = Packed(BEGAN_S * 10**9, 30 * 10**9)
    packed.add([(0, totals)])
    return IntervalsView(names=["search"], kept=[packed], first_open_ns=BEGAN_S * 10**9 + 1)


@pytest.fixture
def fleet(broker: Broker) -> Engine:
    engine = broker.connect()
    engine.open()
    for number, name in enumerate(("alpha", "beta"), 1):
        calls = [Made(one, "search", one * 1000) for one in range(1, 4 * number)]
        _said(engine, name, number, [*calls, Made(99, "fetch", 10**9, "search", "ValueError")])
    return engine


def test_a_look_has_each_node_as_a_worker(fleet: Engine) -> None:
    """What a view shows of a session it shows of a fleet: tools, calls in flight, alerts."""
    look = Watch(Source(States(fleet), "here").find).look()
    assert look.is_live
    assert look.problem is None
    assert [worker.name for worker in look.workers] == ["alpha", "beta"]
    assert (look.begun, look.total_calls, look.in_flight) == (14, 12, 2)
    # Both nodes have a call of that id: each is its own, and its node's.
    assert [(call.node, call.pid) for call in look.open] == [("beta", 2), ("alpha", 1)]
    assert len({call.id for call in look.open}) == 2
    assert [worker.doing for worker in look.workers] == [f"{n}/{1:016x}" for n in (1, 2)]
    assert {alert.text for alert in look.alerts} == {
        f"fetch fails on {n}" for n in ("alpha", "beta")
    }


def test_intervals_of_one_time_are_one(fleet: Engine) -> None:
    """The chart of a fleet has a point for each time, with the calls of all nodes."""
    answers = Source(States(fleet), "here").find()
    (step,) = trend(answers).steps
    assert (step.at_s, step.count) == (BEGAN_S, 3)
    assert trend(answers, "none").steps == []
    assert trend(answers, since_s=BEGAN_S + 31).steps == []
    assert answers.intervals().totals()["search"].count == 3


def test_of_many_intervals_the_newest_fit() -> None:
    """What a node puts of them is bounded."""
    view = _intervals(1)
    packed = view.kept[0]
    view.kept = [
        Packed(packed.start_ns + n * packed.length_ns, packed.length_ns, 1, packed.chunks)
        for n in range(1000)
    ]
    found = decode_trend(encode_trend(view))
    assert 50 < len(found.kept) < 500
    assert found.kept[-1].start_ns == view.kept[-1].start_ns


FIRST_SEEN = ("fleet of 2 nodes", "alpha", "beta", "top › fetch", "! fetch fails on alpha")


def _shown(app: Top) -> str:
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


def _drive(source: Source, steps: Callable[[Top, Pilot[None]], Awaitable[None]]) -> None:
    async def run() -> None:
        app = Top(source.find, Watch(source.find), 0.1)
        async with app.run_test(size=(120, 40)) as pilot:
            await steps(app, pilot)

    asyncio.run(run())


def test_the_live_terminal_shows_a_fleet(fleet: Engine) -> None:
    """Nodes by name, what is open on each, and what is wrong; a tool can be looked into."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        async with asyncio.timeout(DEADLINE_S):
            while not all(name in _shown(app) for name in FIRST_SEEN):
                await pilot.pause(0.02)
        await pilot.press("enter")
        async with asyncio.timeout(DEADLINE_S):
            while "slowest" not in _shown(app):
                await pilot.pause(0.02)

    _drive(Source(States(fleet), "here"), steps)


def test_a_broker_that_is_away_leaves_the_last_look(broker: Broker, fleet: Engine) -> None:
    """What was seen last stays, with what is the matter."""
    clock = iter(range(0, 1000, 10))
    watch = Watch(Source(States(fleet), "here", lambda: next(clock)).find)
    assert watch.look().total_calls == 12
    broker.kill()
    look = watch.look()
    assert (look.total_calls, look.is_live) == (12, False)
    assert look.problem


def _get(url: str, path: str, *, is_post: bool = False) -> tuple[int, Any]:
    parts = urlsplit(url)
    token = parts.query.partition("=")[2]
    request = urllib.request.Request(  # noqa: S310  the server that was just started
        f"{parts.scheme}://{parts.netloc}{path}",
        data=b"{}" if is_post else None,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:  # noqa: S310  the same
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.usefixtures("fleet")
def test_the_page_shows_a_fleet(place: Place, broker: Broker) -> None:
    """Every address that has an answer has the fleet's; what changes something is refused."""
    program = place.start_module("serve", "--url", broker.url, "--listen", "127.0.0.1:0", "--json")
    assert program.stdout is not None
    url = json.loads(program.stdout.readline())["url"]
    try:
        status, stats = _get(url, "/api/stats")
        assert (status, stats["total_calls"]) == (200, 12)
        assert len(_get(url, "/api/inflight")[1]) == 2
        assert [call["tool"] for call in _get(url, "/api/slow?limit=1")[1]] == ["fetch"]
        assert _get(url, "/api/errors")[1][0]["count"] == 2
        assert len(_get(url, "/api/alerts")[1]["alerts"]) == 2
        assert _get(url, "/api/intervals")[1]["steps"][0]["count"] == 3
        assert {edge["tool"] for edge in _get(url, "/api/tree")[1]} == {"search", "fetch"}
        for path in ("/api/changes", "/api/status", "/api/reports", "/openapi.json"):
            assert _get(url, path)[0] == 200
        assert _get(url, "/api/trace/" + f"{1:016x}")[0] == 404
        for path in ("/api/mode", "/api/cleanup", "/api/optimize"):
            status, answer = _get(url, path, is_post=True)
            assert status in {400, 409, 503}
            assert answer["error"]
    finally:
        program.terminate()
        program.communicate()


@pytest.mark.usefixtures("fleet")
def test_a_plain_look_is_for_pipes(place: Place, broker: Broker) -> None:
    """`top --url` prints one look, and its JSON."""
    out = place.shmperf("top", "--plain", "--count", "1", "--url", broker.url)
    assert "alpha" in out
    look = json.loads(place.shmperf("top", "--json", "--url", broker.url))
    assert [worker["name"] for worker in look["workers"]] == ["alpha", "beta"]
    program = place.start_module("top", "--plain", "--url", "nats://127.0.0.1:1")
    wait_until(lambda: program.poll() is not None, "the end")
    assert program.returncode == 1
