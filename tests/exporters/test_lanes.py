"""Lanes: every call begins and ends once, nested within its lane, beside what it overlaps."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from shmperf.exporters.lanes import Lane, Placed, placed
from shmperf.exporters.ordered import by_start
from shmperf.storage.kept import KeptCall
from shmperf.storage.lines import timestamp

FIRST_S = 1_795_445_667.0


def call(
    name: str, start_us: float, length_us: float | None, parent: str | None = None, pid: int = 7
) -> KeptCall:
    start_s = FIRST_S + start_us / 1e6
    return KeptCall(
        tool=name.split(".", maxsplit=1)[0],
        timestamp=timestamp(int(start_s * 1e9)),
        id=name,
        pid=pid,
        parent=parent,
        trace=None,
        duration_s=None if length_us is None else length_us / 1e6,
        status="aborted" if length_us is None else "ok",
        err=None,
        error=None,
        fingerprint=None,
        params=None,
        start_s=start_s,
    )


def drawn(*calls: KeptCall) -> dict[str, Placed]:
    return {str(turn.call.call.id): turn.call for turn in placed(calls) if turn.is_begin}


def test_a_call_lies_in_its_parents_lane() -> None:
    """One lane for what nests; own time is what no child covers."""
    found = drawn(
        call("search", 0, 100),
        call("fetch.1", 10, 20, "search"),
        call("parse", 12, 5, "fetch.1"),
        call("fetch.2", 40, 20, "search"),
    )
    assert {one.lane for one in found.values()} == {Lane(7, 0, is_overlapping=False)}
    assert [round(one.own_us) for one in found.values()] == [60, 15, 5, 20]
    assert [above.call.id for above in found["parse"].stack()] == ["search", "fetch.1", "parse"]


def test_roots_that_overlap_take_lanes_of_their_own_and_give_them_back() -> None:
    """As many lanes as calls were open at once."""
    found = drawn(*(call(f"root.{n}", 10 * n, 25) for n in range(100)))
    assert {one.lane.number for one in found.values()} == {0, 1, 2}
    assert not any(one.lane.is_overlapping for one in found.values())


def test_calls_beside_their_siblings_overlap() -> None:
    """Tasks of one parent, and one that outlives it, lie beside it, and cover it once."""
    found = drawn(
        call("gather", 0, 100),
        call("task.1", 10, 50, "gather"),
        call("task.2", 20, 50, "gather"),
        call("inner", 25, 10, "task.2"),
        call("late", 90, 500, "gather"),
    )
    assert not found["task.1"].lane.is_overlapping
    assert found["task.2"].lane == found["inner"].lane == Lane(7, 0, is_overlapping=True)
    assert found["late"].lane.is_overlapping
    assert round(found["gather"].own_us) == 30


def test_a_child_in_another_process_has_its_parent_and_a_lane_there() -> None:
    """A root of its worker's lanes, below its parent."""
    found = drawn(call("top", 0, 100), call("remote", 10, 20, "top", pid=8))
    assert found["remote"].lane == Lane(8, 0, is_overlapping=False)
    assert found["remote"].parent is found["top"]
    assert round(found["top"].own_us) == 80


def test_a_call_that_never_ended_is_around_what_ran_below() -> None:
    """It ends with all, and its children nest in it."""
    turns = list(placed([call("killed", 0, None), call("below", 10, 20, "killed")]))
    assert [(turn.is_begin, turn.call.call.id) for turn in turns] == [
        (True, "killed"),
        (True, "below"),
        (False, "below"),
        (False, "killed"),
    ]
    assert round(turns[-1].at_us) == 30
    assert not turns[-1].call.is_ended
    assert turns[0].call.lane == turns[1].call.lane


def test_calls_of_a_microsecond_stay_in_one_lane() -> None:
    """Whatever a start in floating seconds is rounded to."""

    def tight() -> Iterator[KeptCall]:
        at_us = 0.0
        for number in range(2_000):
            yield call(f"outer.{number}", at_us, 0.9)
            yield call(f"inner.{number}", at_us + 0.3, 0.4, f"outer.{number}")
            at_us += 1.1

    found = drawn(*tight())
    assert len(found) == 4_000
    overlapping = [one for one in found.values() if one.lane.is_overlapping]
    assert len(overlapping) < 200
    assert {one.lane.number for one in found.values()} <= {0, 1}


def test_odd_lines_are_drawn_or_passed_over() -> None:
    """No time, no number, a parent that is the call itself: no error, nothing without end."""
    odd = call("odd", 0, 5, "odd")
    nowhere = call("nowhere", 0, 5)
    nowhere.start_s = None
    negative = call("negative", 0, -5)
    circle = [call("a", 0, 5, "b"), call("b", 0, 5, "a")]
    found = drawn(odd, nowhere, negative, *circle)
    assert sorted(found) == ["a", "b", "negative", "odd"]
    assert found["negative"].end_us == found["negative"].start_us


STARTS = st.floats(0, 1_000, allow_nan=False)
CALLS = st.lists(
    st.tuples(STARTS, st.none() | st.floats(0, 300), st.integers(-1, 30), st.integers(1, 3)),
    max_size=40,
)


@given(CALLS)
def test_turns_nest_in_every_lane(rows: list[tuple[float, float | None, int, int]]) -> None:
    """Of any calls: begun and ended once, in order and last begun first ended within a lane."""
    calls = [
        call(f"tool.{n}", start, length, f"tool.{parent}", pid)
        for n, (start, length, parent, pid) in enumerate(rows)
    ]
    turns = list(placed(calls))
    assert len(turns) == 2 * len(calls)
    stacks: dict[Lane, list[Placed]] = {}
    reached: dict[Lane, float] = {}
    for turn in turns:
        lane = turn.call.lane
        assert turn.at_us >= reached.get(lane, 0.0)
        reached[lane] = turn.at_us
        if turn.is_begin:
            stacks.setdefault(lane, []).append(turn.call)
        else:
            assert stacks[lane].pop() is turn.call
    assert not any(stacks.values())


@given(CALLS, st.integers(1, 7))
def test_order_is_that_of_starts_however_few_are_sorted_at_once(
    rows: list[tuple[float, float | None, int, int]], run: int
) -> None:
    """Runs put aside and merged are what sorting all at once gives."""
    calls = [call(f"tool.{n}", row[0], row[1]) for n, row in enumerate(rows)]
    merged = [one.start_s for one in by_start(calls, run)]
    assert merged == sorted(one.start_s for one in calls if one.start_s)
