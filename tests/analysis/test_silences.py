"""Silences: who has fallen silent, who never does, and what is kept of it."""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.series import QUIET, Source
from shmperf.analysis.silences import Rhythm, Silences, callers_first

EVERY_S = 30.0
DECODER = msgspec.msgpack.Decoder(dict[str, Rhythm])


class Room:
    """Rhythms, and intervals in which tools are called or not."""

    def __init__(self, interval_s: float = EVERY_S) -> None:
        self.silences = Silences()
        self.interval_s = interval_s
        self.now_s = 1_000_000.0
        self.silences.resume(self.now_s)
        self.told: list[str] = []
        self.over: list[str] = []

    def last(self, intervals: Iterable[bool], *tools: str) -> None:
        """Intervals pass, in which all of *tools* are called or none."""
        for is_called in intervals:
            self.now_s += self.interval_s
            called = (tools or ("search",)) if is_called else ()
            self.over += self.silences.add(called, self.now_s, self.interval_s)
            for one in self.silences.silent(self.now_s, self.interval_s):
                assert one.limit_s < self.now_s - one.since_s
                self.silences.settle(one.tool, "told")
                self.told.append(one.tool)


def always(intervals: int) -> list[bool]:
    """Calls in each of them."""
    return [True] * intervals


def never(intervals: int) -> list[bool]:
    """No calls at all."""
    return [False] * intervals


def every(step: int, intervals: int) -> list[bool]:
    """Calls in each *step*th of them."""
    return [place % step == 0 for place in range(intervals)]


@pytest.mark.parametrize("interval_s", [1.0, 30.0, 600.0])
def test_steady_tool_that_stops_is_told_once(interval_s: float) -> None:
    """After ten intervals without a call, whatever their length; over with the next call."""
    room = Room(interval_s)
    room.last(always(60))
    room.last(never(10))
    assert room.told == []
    room.last(never(200))
    assert room.told == ["search"]
    assert room.over == []
    room.last(always(1))
    assert room.over == ["search"]


@pytest.mark.parametrize(
    "intervals",
    [
        pytest.param(never(500), id="never called"),
        pytest.param(always(39) + never(500), id="not learnt"),
        pytest.param(every(3, 600) + never(500), id="now and then"),
        pytest.param((always(10) + never(40)) * 20, id="short batches"),
        pytest.param(always(200) + every(2, 60) + every(4, 60) + never(500), id="fades away"),
        pytest.param((always(20) + never(4)) * 10 + never(19), id="its usual gaps"),
    ],
)
def test_quiet_series(intervals: list[bool]) -> None:
    """What is rare, new, in batches or less and less is no silence."""
    room = Room()
    room.last(intervals)
    assert room.told == []


def test_nights_are_told_of_once() -> None:
    """Who stops each evening, and a bit earlier or later, does so as usual after the first."""
    room = Room(300.0)
    for night in range(14):
        room.last(always(144 + night % 3))
        room.last(never(144 - night % 3))
    assert room.told == ["search"]


def test_outage_after_a_night_is_told() -> None:
    """What is silent for twice its night has stopped."""
    room = Room(300.0)
    room.last((always(144) + never(144)) * 3 + always(144) + never(300))
    assert len(room.told) == 2


def test_pause_is_forgotten() -> None:
    """Weeks after an outage the next one of that length is told as well."""
    room = Room(300.0)
    room.last(always(100) + never(50) + always(100) + never(50))
    assert len(room.told) == 1
    room.last(always(12 * 24 * 30) + never(50))
    assert len(room.told) == 2


def test_time_that_nobody_watched_is_no_silence() -> None:
    """A restart, a machine that slept: the limit begins anew, and no gap was seen."""
    room = Room()
    room.last(always(100))
    room.now_s += 86_400.0
    room.silences.resume(room.now_s)
    room.last(never(10))
    assert room.told == []
    room.last(never(2))
    assert room.told == ["search"]
    room.last(always(100))
    assert room.silences.tools["search"].limit_s(EVERY_S) < 86_400.0


def test_workers_that_went_are_no_pause() -> None:
    """Away is neither silent nor a gap: afterwards the limit is as before."""
    room = Room()
    room.last(always(100) + never(5))
    room.silences.settle("search", "away")
    room.last(never(500))
    room.last(always(60))
    assert room.silences.tools["search"].limit_s(EVERY_S) == 10 * EVERY_S
    room.last(never(11))
    assert room.told == ["search"]


def test_what_stopped_together_is_one_trouble() -> None:
    """The cause is the tool that is told and stopped then; once it calls, others get a limit."""
    room = Room()
    room.last(always(100), "answer", "search")
    room.last(never(10))
    room.now_s += EVERY_S
    silences = room.silences
    found = silences.silent(room.now_s, EVERY_S)
    first, second = callers_first(found, {"answer"})
    assert (first.tool, second.tool) == ("search", "answer")
    silences.settle("search", "told")
    assert silences.cause("answer", silences.causes(), EVERY_S) == "search"
    silences.settle("answer", "explained")
    room.last(never(50))
    silences.release(room.now_s, EVERY_S)
    assert silences.tools["answer"].standing == "explained"
    room.last(always(5), "search")
    silences.release(room.now_s, EVERY_S)
    room.last(always(9), "search")
    assert room.told == []


@pytest.mark.parametrize("kind", QUIET, ids=lambda kind: kind.name)
def test_quiet_calls_of_hours(kind: object) -> None:
    """No series of calls that goes on as usual, sparse, in bursts or by day, is ever silent."""
    room = Room()
    source = Source(kind, 7)  # type: ignore[arg-type]  # a parameter's type is not told
    room.last(bool(source.take(EVERY_S).count) for _ in range(600))
    assert room.told == []


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=300), st.integers(0, 300))
def test_restart_anywhere_tells_nothing_twice(
    intervals: list[tuple[bool, bool]], restart: int
) -> None:
    """Told and over alternate, and a restart from journal or snapshot changes neither."""
    room = Room()
    room.last(always(50))
    follower = Silences.restore(DECODER.decode(msgspec.msgpack.encode(room.silences.state())))
    room.silences.take_delta()
    for place, both in enumerate(intervals):
        room.last(both)
        room.last(never(6 * both[1]))
        delta = room.silences.take_delta()
        if delta is not None:
            follower.apply(DECODER.decode(msgspec.msgpack.encode(delta)))
        assert follower.told() == room.silences.told()
        if place == restart:
            room.silences, follower = follower, Silences.restore({**follower.state()})
            room.silences.resume(room.now_s)
        assert len(room.told) - len(room.over) == len(room.silences.told())


def test_bounded_in_tools() -> None:
    """The tools that were silent for longest are forgotten, here and after a restart."""
    silences = Silences()
    silences.resume(0.0)
    for place in range(20_100):
        silences.add([f"tool {place}"], 30.0 * place, EVERY_S)
    assert len(silences.state()) == 20_000
    delta = silences.take_delta()
    assert delta is not None
    assert delta["tool 0"] is None


@pytest.mark.parametrize("figure", [math.nan, math.inf, -1.0])
def test_damaged_rhythm_is_forgotten(figure: float) -> None:
    """What no look can have left behind is learnt anew."""
    silences = Silences.restore(
        {"search": Rhythm("called", figure, 0.0), "fetch": Rhythm("called", 0.0, 0.0)}
    )
    assert list(silences.tools) == ["fetch"]
