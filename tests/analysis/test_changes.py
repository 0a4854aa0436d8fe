"""Alarms on durations and errors: what begins and ends one, what stays quiet, what is kept."""

from __future__ import annotations

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis.alarm import Alarm
from shmperf.analysis.changes import Change, Changes, Group, Watched
from shmperf.analysis.durations import Durations
from shmperf.analysis.errorrate import ErrorRate
from shmperf.analysis.levels import Level
from shmperf.analysis.rates import Rate

# The bucket of 20 ms.
MS_20 = -91
EVERY_S = 30.0
DECODER = msgspec.msgpack.Decoder(dict[str, Watched])


def spread(place: int, calls: int = 300) -> dict[int, int]:
    """About so many *calls* around the bucket *place*, an octave wide."""
    return {place + off: max(1, calls * (9 - abs(off)) // 81) for off in range(-8, 9)}


class Room:
    """Detectors, and a tool that calls as it is told, an interval after the other."""

    def __init__(self, interval_s: float = EVERY_S, effect: float = 1.25) -> None:
        self.changes = Changes(interval_s, effect)
        self.interval_s = interval_s
        self.now_s = 1_000_000.0

    def call(
        self, place: int = MS_20, *, groups: int = 1, calls: int = 300, errors: int = 0
    ) -> list[Change]:
        found: list[Change] = []
        for _ in range(groups):
            histogram = spread(place, calls)
            count = sum(histogram.values())
            group = Group(count, errors, histogram, self.now_s, self.interval_s)
            found += self.changes.add("tool", group)
            self.now_s += self.interval_s
        return found

    def restart(self) -> None:
        written = msgspec.msgpack.encode(self.changes.state())
        changes = Changes.restore(DECODER.decode(written))
        changes.configure(self.interval_s, 1.25)
        self.changes = changes


def learnt(effect: float = 1.25) -> Room:
    """A room whose tool is known at 20 ms without an error."""
    room = Room(effect=effect)
    assert room.call(groups=60) == []
    assert not room.changes.is_learning("tool")
    return room


@pytest.mark.parametrize(("times", "within_s"), [(2.0, 60), (1.25, 150), (1.5, 90)])
def test_slower_is_told_and_so_is_its_end(times: float, within_s: float) -> None:
    """Twice as slow within a minute, a quarter within two and a half; then one end."""
    room = learnt()
    slower = MS_20 + round(math.log2(times) * 16)
    at_s = room.now_s
    (begin,) = room.call(slower, groups=40)
    assert (begin.tool, begin.kind, begin.is_begin, begin.reason) == (
        "tool",
        "latency",
        True,
        "worse",
    )
    assert begin.at_s - at_s <= within_s
    assert begin.since_s == at_s
    assert begin.now / begin.usual == pytest.approx(times, rel=0.1)
    at_s = room.now_s
    (end,) = room.call(groups=40)
    assert (end.kind, end.is_begin, end.reason) == ("latency", False, "usual again")
    assert end.at_s - at_s <= 180
    assert end.since_s == begin.since_s


def test_a_busy_tool_is_known_after_seconds() -> None:
    """While it is learnt, groups close at fifty calls and a second."""
    room = Room()
    room.interval_s = 1.0
    assert room.changes.is_learning("tool")
    room.call(groups=19, calls=100)
    assert room.changes.learning() == {"tool": 0.95}
    room.call(calls=100)
    assert room.changes.learning() == {}
    assert not room.changes.is_learning("tool")


def test_a_rare_tool_waits_for_its_calls() -> None:
    """Fifty calls a group, however many intervals that takes."""
    room = Room()
    room.call(groups=30, calls=10)
    assert room.changes.learning()["tool"] < 1
    room.call(groups=100, calls=10)
    assert not room.changes.is_learning("tool")
    assert [change.is_begin for change in room.call(MS_20 + 16, groups=30, calls=10)] == [True]


@pytest.mark.parametrize("place", [MS_20 - 32, MS_20 - 4, MS_20, MS_20 + 2])
def test_faster_and_a_little_slower_is_nothing(place: int) -> None:
    """Four times as fast is no alarm, nor is 9 % more."""
    room = learnt()
    assert room.call(place, groups=300) == []


def test_what_got_faster_has_a_new_usual() -> None:
    """After an hour at half the time, what was usual before is slow."""
    room = learnt()
    assert room.call(MS_20 - 16, groups=120) == []
    (begin,) = room.call(groups=5)
    assert begin.is_begin
    assert begin.now / begin.usual == pytest.approx(2.0, rel=0.15)


def test_one_wild_group_is_nothing() -> None:
    """A thousand times as slow for one interval alone."""
    room = learnt()
    assert room.call(MS_20 + 160, calls=60) == []
    assert room.call(groups=20) == []


def test_a_level_that_lasts_a_day_is_the_new_usual() -> None:
    """One end says so, and the new level is learnt."""
    room = learnt()
    (begin,) = room.call(MS_20 + 32, groups=20)
    (end,) = room.call(MS_20 + 32, groups=2_900)
    assert (begin.is_begin, end.is_begin, end.reason) == (True, False, "new usual")
    assert room.call(MS_20 + 32, groups=100) == []
    assert [change.is_begin for change in room.call(MS_20 + 64, groups=5)] == [True]


def test_what_comes_back_needs_longer_to_be_over() -> None:
    """Trouble that comes every ten minutes for five is fewer alarms than times it came."""
    room = learnt()
    found: list[Change] = []
    for _ in range(24):
        found += room.call(MS_20 + 16, groups=10)
        found += room.call(groups=10)
    assert sum(change.is_begin for change in found) <= 4


def test_slow_calls_are_found_that_p95_does_not_see() -> None:
    """Three of a hundred calls that take twenty times as long."""
    room = learnt()
    histogram = spread(MS_20)
    histogram[MS_20 + 70] = 9
    found: list[Change] = []
    for _ in range(4):
        group = Group(sum(histogram.values()), 0, histogram, room.now_s, EVERY_S)
        found += room.changes.add("tool", group)
        room.now_s += EVERY_S
    (begin,) = found
    assert begin.what in {"p95", "slow calls"}
    assert [change.reason for change in room.call(groups=10)] == ["usual again"]


@pytest.mark.parametrize(("times", "is_told"), [(3.0, False), (8.5, False), (11.0, True)])
def test_who_wants_to_be_told_of_ten_times_is_not_told_of_less(times: float, is_told: bool) -> None:
    """Of all calls, and of a few that are slower than the others ever were."""
    slower = round(math.log2(times) * 16)
    room = learnt(effect=10.0)
    assert [one.is_begin for one in room.call(MS_20 + slower, groups=40)] == [True] * is_told
    room = learnt(effect=10.0)
    histogram = spread(MS_20)
    # The usual p95 lies half an octave higher than p50.
    histogram[MS_20 + slower + 7] = 12
    found: list[Change] = []
    for _ in range(10):
        group = Group(sum(histogram.values()), 0, histogram, room.now_s, EVERY_S)
        found += room.changes.add("tool", group)
        room.now_s += EVERY_S
    assert [one.what for one in found] == ["slow calls"] * is_told


def test_errors_are_told_and_so_is_their_end() -> None:
    """Five in a hundred within a minute at ten calls a second."""
    room = learnt()
    at_s = room.now_s
    (begin,) = room.call(groups=10, errors=15)
    assert (begin.kind, begin.what, begin.is_begin) == ("errors", "errors", True)
    assert begin.at_s - at_s <= 60
    assert begin.now == pytest.approx(0.05, rel=0.1)
    at_s = room.now_s
    (end,) = room.call(groups=10)
    assert (end.kind, end.is_begin, end.reason) == ("errors", False, "usual again")
    assert end.at_s - at_s <= 180


def test_few_errors_are_nothing() -> None:
    """Four of them, whatever their share, and a share that was always there."""
    room = learnt()
    assert room.call(groups=1, calls=20, errors=4) == []
    room = Room()
    assert room.call(groups=300, errors=60) == []


@pytest.mark.parametrize("failing", [250, 290, 300])
def test_what_mostly_fails_does_not_become_worse(failing: int) -> None:
    """A tool that has always failed, or nearly so, is no news when it fails altogether."""
    room = Room()
    assert room.call(groups=200, errors=failing) == []
    assert room.call(groups=200, errors=300) == []


def test_an_alarm_without_calls_ends_after_an_hour() -> None:
    """Nobody can say whether it is over; it is not left open for ever."""
    room = learnt()
    room.call(MS_20 + 32, groups=5, errors=100)
    assert room.changes.expire(room.now_s + 3_000) == []
    ends = room.changes.expire(room.now_s + 4_000)
    assert {(end.kind, end.is_begin, end.reason) for end in ends} == {
        ("latency", False, "no calls"),
        ("errors", False, "no calls"),
    }
    assert room.changes.expire(room.now_s + 9_000) == []


def test_a_restart_forgets_neither_level_nor_alarm() -> None:
    """What was open stays so, is not told again, and ends."""
    room = learnt()
    room.restart()
    assert [change.is_begin for change in room.call(MS_20 + 16, groups=10)] == [True]
    room.restart()
    assert room.call(MS_20 + 16, groups=10) == []
    assert [change.is_begin for change in room.call(groups=10)] == [False]


def test_deltas_rebuild_the_alarms() -> None:
    """Begin and end are in a delta at once; what is learnt, every few groups."""
    room = learnt()
    other = Changes()
    kind = dict[str, Watched | None]
    for place, groups in ((MS_20, 60), (MS_20 + 16, 10), (MS_20, 20)):
        for _ in range(groups):
            found = room.call(place)
            delta = room.changes.take_delta()
            assert delta is not None or not found
            if delta is not None:
                other.apply(msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=kind))
            if room.changes.tools["tool"].durations.alarm is None:
                assert not other.tools or other.tools["tool"].durations.alarm is None
            else:
                assert other.tools["tool"].durations.alarm is not None
    assert room.changes.take_delta() is None


def test_state_is_bounded_a_tool() -> None:
    """Four hundred bytes, whether a tool is learnt, known or alarmed."""
    room = Room()
    most = 0
    for place, groups in ((MS_20, 19), (MS_20, 60), (MS_20 + 16, 30)):
        room.call(place, groups=groups, errors=20 if groups == 30 else 0)
        most = max(most, len(msgspec.msgpack.encode(room.changes.state()["tool"])))
    assert room.changes.state()["tool"].errors.alarm is not None
    assert most <= 400


def test_tools_are_bounded() -> None:
    """Of twenty thousand and some, those silent for longest go, and their alarms end."""
    room = learnt()
    room.call(MS_20 + 16, groups=5)
    found: list[Change] = []
    for number in range(20_000):
        found += room.changes.add(f"t{number}", Group(1, 0, {MS_20: 1}, room.now_s, 1.0))
    assert [(change.tool, change.reason) for change in found] == [("tool", "forgotten")]
    assert len(room.changes.state()) == 20_000
    assert room.changes.take_delta() == {"tool": None}


ANY_GROUP = st.builds(
    Group,
    st.integers(-10, 10**30),
    st.integers(-10, 10**30),
    st.dictionaries(st.integers(-10_000, 10_000), st.integers(-5, 10**25), max_size=20),
    st.floats(),
    st.floats(),
)


ANY_LEVEL = st.builds(Level, *[st.floats()] * 6)
ANY_RATE = st.builds(Rate, *[st.floats()] * 5, st.integers(), st.integers())
ANY_ALARM = st.none() | st.builds(
    Alarm, st.sampled_from(["p50", "slow calls"]), st.floats(), st.floats()
)
ANY_WATCHED = st.builds(
    Watched,
    st.builds(
        Durations,
        st.binary(max_size=200),
        st.lists(ANY_LEVEL, max_size=2),
        ANY_RATE,
        st.integers(),
        ANY_ALARM,
        st.floats(),
    ),
    st.builds(ErrorRate, ANY_RATE, ANY_ALARM),
    st.floats(),
)


@settings(max_examples=200, deadline=None)
@given(ANY_WATCHED)
def test_what_a_file_says_is_not_believed(watched: Watched) -> None:
    """Whatever was read of a tool, looking goes on; where it was nonsense it is learnt again."""
    room = Room()
    room.changes = Changes.restore({"tool": watched})
    room.call(groups=25)
    assert not room.changes.is_learning("tool")
    assert room.changes.tools["tool"].is_sound


@settings(max_examples=50, deadline=None)
@given(
    st.lists(ANY_GROUP, min_size=1, max_size=60),
    st.sampled_from([1.0, 30.0, 3_600.0]),
    st.sampled_from([1.000001, 1.25, 1_000.0]),
)
def test_garbage_costs_nothing_but_itself(
    groups: list[Group], interval_s: float, effect: float
) -> None:
    """Whatever is fed: alarms begin and end in turn, figures are numbers, state survives."""
    changes = Changes(interval_s, effect)
    is_open = {"latency": False, "errors": False}
    for group in groups:
        for change in changes.add("tool", group):
            assert change.is_begin is not is_open[change.kind]
            is_open[change.kind] = change.is_begin
            assert all(map(math.isfinite, (change.usual, change.now)))
        written = msgspec.msgpack.encode(changes.state())
        assert msgspec.msgpack.encode(DECODER.decode(written)) == written
        assert len(written) <= 410
