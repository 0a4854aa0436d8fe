"""Intervals: exact at every age, bounded, and never before one that is closed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis import aging
from shmperf.analysis import intervals as module
from shmperf.analysis.intervals import Intervals, IntervalsDelta, IntervalsState
from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.timeline import LENGTH_NS
from shmperf.analysis.totals import Totals

SECOND = 10**9
# A whole hour, and day.
NOON = 19_000 * 86_400 * SECOND
HOUR, DAY = 3600 * SECOND, 86_400 * SECOND


class Told:
    """Intervals with a clock, what they wrote into a journal, and every call by its interval."""

    def __init__(self, now_ns: int = NOON) -> None:
        self.now_ns = now_ns
        self.intervals = Intervals()
        self.intervals.time.look(now_ns)
        self.journal: list[bytes] = []
        self.calls: dict[int, dict[str, list[int]]] = {}

    def call(self, tool: str, durations_ns: Sequence[int], ended_ns: int | None = None) -> int:
        """Calls that ended now, or then; the number of their interval."""
        number = self.intervals.time.numbered(self.now_ns if ended_ns is None else ended_ns)
        known = self.intervals._new.new.get(number, {}).get(tool, Totals())
        known.add(durations_ns, 0, self.now_ns)
        new = {**self.intervals._new.new}
        new[number] = {**new.get(number, {}), tool: known}
        self.intervals.add(new)
        self.calls.setdefault(number, {}).setdefault(tool, []).extend(durations_ns)
        return number

    def frame(self) -> None:
        """What the cycle does with each frame."""
        self.intervals.time.close(self.now_ns)
        delta = self.intervals.take_delta()
        if delta is not None:
            self.journal.append(msgspec.msgpack.encode(delta))

    def wait(self, ns: int) -> None:
        """Time passes."""
        self.now_ns += ns
        self.intervals.time.look(self.now_ns)
        self.frame()

    def settle(self) -> None:
        """Frames until nothing is left to be merged."""
        for _ in range(1000):
            before = msgspec.msgpack.encode(self.intervals.state())
            self.intervals.apply(IntervalsDelta())
            if msgspec.msgpack.encode(self.intervals.state()) == before:
                return
        pytest.fail("it never comes to an end")

    def replayed(self) -> Intervals:
        """What a restart makes of the journal."""
        found = Intervals()
        for payload in self.journal:
            found.apply(msgspec.msgpack.decode(payload, type=IntervalsDelta))
        return found

    def expected(self, start_ns: int, end_ns: int) -> dict[str, IntervalTotals]:
        """All calls of the intervals between two times."""
        found: dict[str, IntervalTotals] = {}
        for number, tools in self.calls.items():
            if start_ns <= number * LENGTH_NS < end_ns:
                for tool, durations_ns in tools.items():
                    found.setdefault(tool, IntervalTotals()).add(durations_ns, 0, 0)
        return found


def through_msgpack(intervals: Intervals) -> Intervals:
    """What a snapshot gives back."""
    state = msgspec.msgpack.encode(intervals.state())
    return Intervals.restore(msgspec.msgpack.decode(state, type=IntervalsState))


def spans_of(intervals: Intervals) -> list[tuple[int, int, dict[str, IntervalTotals]]]:
    """Beginning and end in nanoseconds, and the totals."""
    spans = intervals.view().spans()
    return [(round(s * 1e9), round((s + n) * 1e9), tools) for s, n, tools, _ in spans]


# Seconds that pass, a tool, durations, how late they are drained, whether a frame follows.
Step = tuple[int, str, list[int], int, bool]
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 29, 31, 301, 3_601, 90_000, 31 * 86_400]),
        st.sampled_from(["a", "b", ""]),
        st.lists(st.integers(-5, 10**12), min_size=1, max_size=4),
        st.sampled_from([0, 1, 31, 400]),
        st.booleans(),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.booleans())
def test_every_interval_of_every_age_has_exactly_its_calls(
    steps: list[Step], restarts: bool
) -> None:
    """Counts, sums, least, greatest and buckets are those of the calls, however often merged."""
    told = Told()
    for wait_s, tool, durations_ns, late_s, has_frame in steps:
        told.wait(wait_s * SECOND)
        told.call(tool, durations_ns, told.now_ns - late_s * SECOND)
        if has_frame:
            told.frame()
        if restarts and has_frame:
            told.intervals = through_msgpack(told.intervals)
            told.intervals.time.look(told.now_ns)
    told.frame()
    told.settle()
    spans = spans_of(told.intervals)
    for start_ns, end_ns, tools in spans:
        assert tools == told.expected(start_ns, end_ns)
    ends = [end_ns for _, end_ns, _ in spans]
    assert all(end <= start for end, (start, _, _) in zip(ends, spans[1:], strict=False))
    oldest_ns = told.intervals.time.closed * LENGTH_NS - 30 * DAY
    oldest_ns -= oldest_ns % HOUR
    assert told.intervals.view().totals() == told.expected(oldest_ns, 1 << 63)
    if not restarts:
        again = told.replayed()
        assert {**again.view().totals()} == told.intervals.view().totals()


def test_lengths_follow_age() -> None:
    """30 s for an hour, 5 min for a day, 1 h for 30 days, aligned to the wall clock."""
    told = Told()
    for _ in range(2 * 120):
        told.call("a", [5])
        told.wait(LENGTH_NS)
    for _ in range(30):
        told.call("a", [5])
        told.wait(HOUR)
    told.call("a", [5])
    told.wait(300 * SECOND)
    told.settle()
    now_ns = told.intervals.time.closed * LENGTH_NS
    for start_ns, end_ns, _ in spans_of(told.intervals):
        length_ns = end_ns - start_ns
        age_ns = now_ns - start_ns
        expected = LENGTH_NS if age_ns <= HOUR else 300 * SECOND if age_ns <= DAY else HOUR
        assert start_ns % expected == 0
        assert length_ns <= expected
    told.wait(31 * DAY)
    told.call("b", [1])
    told.wait(LENGTH_NS * 2)
    told.settle()
    assert list(told.intervals.view().totals()) == ["b"]
    assert told.intervals.kept.let_go == 0


def test_a_range_is_answered_for_one_tool() -> None:
    """Who asks for a time and a tool gets those intervals that have a part in it, and no other."""
    told = Told()
    for tool in ("a", "b", "a"):
        told.call(tool, [7])
        told.wait(LENGTH_NS)
    noon_s = NOON / 1e9
    view = told.intervals.view("a", noon_s + 31, noon_s + 61)
    view = msgspec.msgpack.decode(msgspec.msgpack.encode(view), type=IntervalsView)
    assert [(span.start_s - noon_s, sorted(span.tools)) for span in view.spans()] == [(60, ["a"])]
    assert told.intervals.view("a").totals()["a"].count == 2
    assert told.intervals.view("nobody").totals() == {}
    assert told.intervals.view(None, noon_s + 1e6, None).totals() == {}


def test_own_time_counts_where_the_call_ended() -> None:
    """What the calls below covered is taken off, also after the rest was packed."""
    told = Told()
    number = told.call("a", [100])
    told.frame()
    told.intervals = through_msgpack(told.intervals)
    told.intervals.time.look(told.now_ns)
    told.intervals.cover(number, "a", 30)
    told.intervals.cover(number, "a", 5)
    told.frame()
    assert told.intervals.view().totals()["a"].own_ns == 65
    told.wait(2 * LENGTH_NS)
    assert told.intervals.view().totals()["a"].own_ns == 65
    merged = IntervalTotals(sum_ns=5, covered_ns=9)
    assert merged.own_ns == 0


# --- the clock ------------------------------------------------------------------------------------


def test_a_call_later_than_its_interval_counts_in_the_first_open_one() -> None:
    """What is closed never changes."""
    told = Told()
    number = told.call("a", [1])
    told.wait(2 * LENGTH_NS)
    closed = dict(told.intervals.closed_after(0))
    assert list(closed) == [number]
    late = told.call("a", [1], NOON)
    told.frame()
    assert late == told.intervals.time.closed + 1
    assert dict(told.intervals.closed_after(0)) == closed
    assert list(told.intervals.closed_after(number)) == []


def test_a_clock_that_goes_back_begins_no_interval_before_a_closed_one() -> None:
    """Intervals go on behind the newest, each as long as ever, until the clock is right again."""
    told = Told()
    told.call("a", [1])
    told.wait(3 * LENGTH_NS)
    closed = told.intervals.time.closed
    told.now_ns -= DAY
    told.wait(0)
    numbers = []
    for _ in range(4):
        numbers.append(told.call("a", [1]))
        told.wait(LENGTH_NS)
    assert numbers == list(range(closed + 1, closed + 5))
    told.wait(DAY)
    assert told.call("a", [1]) == told.now_ns // LENGTH_NS


def test_times_that_make_no_sense_count_now_or_in_the_oldest_open_interval() -> None:
    """Ends come from other processes: one of next year opens no interval of next year."""
    told = Told()
    time = told.intervals.time
    assert told.call("a", [1], 1 << 62) == time.latest + 1
    assert told.call("a", [1], -(1 << 62)) == time.latest - 119
    told.frame()
    assert told.intervals.view().totals()["a"].count == 2


def test_a_restart_after_hours_finds_the_calls_of_then() -> None:
    """What ended before the collector died is drained late, and counts where it ended."""
    told = Told()
    told.call("a", [1])
    told.frame()
    told.intervals = through_msgpack(told.intervals)
    told.now_ns += 600 * SECOND
    told.intervals.time.look(told.now_ns)
    assert told.call("a", [1], NOON + 40 * SECOND) == NOON // LENGTH_NS + 1
    told.wait(0)
    assert [start for start, _, _ in spans_of(told.intervals)] == [NOON, NOON + LENGTH_NS]


def test_a_cleanup_forgets_all_but_the_time() -> None:
    """No interval is closed twice, whatever is forgotten in between."""
    told = Told()
    told.call("a", [1])
    told.wait(2 * LENGTH_NS)
    closed = told.intervals.time.closed
    told.call("a", [1])
    told.intervals.clear()
    assert told.intervals.view().totals() == {}
    assert told.intervals.time.closed == closed
    told.call("b", [1])
    told.frame()
    assert list(told.intervals.view().totals()) == ["b"]


# --- what others are told -------------------------------------------------------------------------


def test_each_part_of_a_closed_interval_is_told_once() -> None:
    """Open intervals are not told of, and a position survives a restart."""
    told = Told()
    tools = [f"tool{n}" for n in range(300)]
    for tool in tools:
        told.call(tool, [1])
    assert told.intervals.next_untold() is None
    told.wait(2 * LENGTH_NS)
    told.call("open", [1])
    seen: list[str] = []
    while (part := told.intervals.next_untold()) is not None:
        seen += part.tools
        assert part.start_ns == NOON
        told.intervals.tell(part.position)
        told.frame()
        told.intervals = through_msgpack(told.intervals)
        told.intervals.time.look(told.now_ns)
    assert seen == tools
    assert told.replayed().next_untold() is None


# --- bounds ---------------------------------------------------------------------------------------


def every_tool(names: Iterable[str], durations_ns: Sequence[int]) -> dict[str, Totals]:
    found = {}
    for name in names:
        found[name] = Totals()
        found[name].add(durations_ns, 0, 0)
    return found


def test_twenty_thousand_tools_that_all_work_stay_within_bounds() -> None:
    """16 MiB at most, the newest intervals are there, and every call is in one or let go."""
    intervals, now_ns, calls = Intervals(), NOON, 0
    names = [f"a tool with a name {n}" for n in range(20_000)]
    intervals.time.look(now_ns)
    most = 0
    for turn in range(16):
        now_ns += LENGTH_NS // 2
        intervals.time.look(now_ns)
        intervals.time.close(now_ns)
        intervals.add({intervals.time.latest: every_tool(names, [1000 * (turn + 1)] * 3)})
        calls += 3 * len(names)
        intervals.take_delta()
        intervals.apply(IntervalsDelta())
        most = max(most, intervals.size_bytes)
    assert most <= 16 << 20
    view = intervals.view()
    assert sum(totals.count for totals in view.totals().values()) + view.let_go == calls
    assert len(list(intervals.closed_after(0))) >= 3
    assert len(msgspec.msgpack.encode(intervals.state())) < 16 << 20


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a few calls reach."""
    small = tuple(length._replace(most_bytes=3_000) for length in aging.LENGTHS)
    monkeypatch.setattr(aging.Kept.__init__, "__defaults__", (small,))
    monkeypatch.setattr(module, "_MOST_LIVE_BYTES", 2_000)
    monkeypatch.setattr(module, "_MOST_OPEN_BYTES", 2_000)


@pytest.mark.usefixtures("narrow")
@settings(deadline=None, max_examples=40)
@given(STEPS)
def test_what_is_too_much_is_merged_early_and_then_let_go_and_counted(
    steps: list[Step],
) -> None:
    """Every call is in exactly one interval, or counted as let go, or 30 days old."""
    told = Told()
    for wait_s, tool, durations_ns, late_s, _ in steps:
        told.wait(min(wait_s, 301) * SECOND)
        for n in range(20):
            told.call(f"{tool}{n}", durations_ns, told.now_ns - late_s * SECOND)
        told.frame()
    told.settle()
    known = sum(totals.count for totals in told.intervals.view().totals().values())
    made = sum(len(d) for tools in told.calls.values() for d in tools.values())
    assert known + told.intervals.kept.let_go == made
    assert told.intervals.size_bytes <= 3 * 3_000 + 2_000 + 130 * 400 + 2_000


# --- damage ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [b"", b"x", b"\x78\x9c\x03", b"\0" * 100])
def test_a_damaged_chunk_counts_as_nothing(chunk: bytes) -> None:
    """Whatever a file says: no other interval, and no other chunk, is worse for it."""
    told = Told()
    told.call("a", [1])
    told.wait(2 * LENGTH_NS)
    told.call("a", [1])
    told.wait(2 * LENGTH_NS)
    state = told.intervals.state()
    state.kept[0][0].chunks = {0: chunk, 7: chunk, -1: chunk}
    told.intervals = Intervals.restore(state)
    assert told.intervals.view().totals()["a"].count == 1
    told.wait(31 * DAY)
    told.settle()


@pytest.mark.parametrize(
    "written",
    [[], [["a"], 5], [[], [[[0, 30, 0, {}]]] * 9], [[], [[[1 << 63, -5, 0, {}]]]], {"x": 1}, 7],
)
def test_a_state_that_makes_no_sense_is_refused_or_harmless(written: Any) -> None:
    """It is told as damage of this analysis, or changes nothing."""
    payload = msgspec.msgpack.encode(written)
    try:
        found = Intervals.restore(msgspec.msgpack.decode(payload, type=IntervalsState))
    except (msgspec.MsgspecError, LookupError, ValueError):
        return
    found.time.look(NOON)
    assert found.view().totals() == {}
