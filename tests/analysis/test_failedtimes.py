"""How long failed calls took: by type of error, bounded, a part of the tool's totals."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.failedtimes import OTHER, FailedTimes, Times, went_well
from shmperf.analysis.totals import Totals

CALLS = st.lists(
    st.tuples(st.sampled_from(["ok", "ValueError", "timeout"]), st.integers(0, 10**10)),
    max_size=60,
)


@given(CALLS)
def test_what_went_well_and_what_failed_are_all(calls: list[tuple[str, int]]) -> None:
    """Counts, sums and histograms add up, whatever failed."""
    whole, well, times = Totals(), Totals(), FailedTimes()
    for kind, duration_ns in calls:
        whole.add([duration_ns], int(kind != "ok"), 1)
        if kind == "ok":
            well.add([duration_ns], 0, 1)
        else:
            times.add("tool", kind, [duration_ns], 0, 1)
    times.take_delta()
    found = went_well(whole, times.known.get("tool", {}))
    assert (found.count, found.errors, found.sum_ns) == (well.count, 0, well.sum_ns)
    assert found.histogram == well.histogram
    assert found.zero_count == well.zero_count


@given(CALLS, CALLS)
def test_a_restart_knows_the_same(
    first: list[tuple[str, int]], later: list[tuple[str, int]]
) -> None:
    """State and deltas, written and read, are what was counted."""
    times = FailedTimes()
    for kind, duration_ns in first:
        times.add("tool", kind, [duration_ns], 0, 1)
    times.take_delta()
    written = msgspec.msgpack.encode(times.state())
    restored = FailedTimes.restore(msgspec.msgpack.decode(written, type=Times))
    for kind, duration_ns in later:
        times.add("tool", kind, [duration_ns], 1, 1)
    delta = times.take_delta()
    if delta is not None:
        restored.apply(msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=Times))
    assert restored.known == times.known


def test_types_without_end_are_one() -> None:
    """Ten types of a tool are told apart, and a bounded number in all; every call is counted."""
    times = FailedTimes(most=15)
    for tool in ("one", "two", "three"):
        for number in range(12):
            times.add(tool, f"Error{number}", [5], 0, 1)
    times.take_delta()
    assert [len(types) for types in times.known.values()] == [11, 5, 1]
    assert times.known["three"][OTHER].count == 12
    assert sum(one.count for types in times.known.values() for one in types.values()) == 36


def test_a_cleanup_forgets() -> None:
    """Nothing is left, and types are told apart again."""
    times = FailedTimes(most=1)
    times.add("one", "A", [5], 0, 1)
    times.take_delta()
    times.clear()
    times.add("two", "B", [5], 0, 1)
    times.take_delta()
    assert list(times.known) == ["two"]
    assert list(times.known["two"]) == ["B"]
