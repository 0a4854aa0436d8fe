"""The usual range of durations: what is told, and what is not."""

from __future__ import annotations

import pytest

from shmperf.analysis.anomaly import Finding, Usual, sentence
from shmperf.config.options import Watch

MS = 1_000_000
SECOND = 1_000 * MS


def looked(usual: Usual, durations_ms: list[float], *, first: int = 0) -> list[int]:
    """The indexes of what is told of calls that end two seconds apart, after *first* others."""
    durations = [round(duration * MS) for duration in durations_ms]
    ends = [2 * SECOND * number for number in range(first, first + len(durations))]
    return [row[0] for row in usual.look("tool", durations, ends)]


@pytest.mark.parametrize("odd", [13.0, 7.0, 100.0, 0.0])
def test_a_duration_beyond_the_threshold_is_told(odd: float) -> None:
    """Slower and faster, also when the calls before it come in the same batch."""
    assert looked(Usual(Watch()), [10.0] * 12 + [odd] + [10.0] * 5) == [12]


@pytest.mark.parametrize("usual_ms", [11.9, 8.1, 10.5])
def test_what_lies_within_the_threshold_is_not(usual_ms: float) -> None:
    """A fifth more or less is usual."""
    assert looked(Usual(Watch()), [10.0] * 12 + [usual_ms]) == []


def test_less_than_a_millisecond_is_the_scheduler() -> None:
    """A short tool's durations may jump by more than a fifth."""
    assert looked(Usual(Watch()), [0.01] * 50 + [0.9]) == []
    assert looked(Usual(Watch()), [0.01] * 50 + [1.2]) == [50]


def test_nothing_is_told_before_the_samples_are_there() -> None:
    """Not even the wildest."""
    assert looked(Usual(Watch(min_samples=10)), [1.0, 500.0, 1.0, 900.0, 2.0] * 2) == []


def test_a_spread_that_is_always_there_is_usual() -> None:
    """A tool between 10 and 100 ms is told of at 200, not at 95."""
    spread = [10 + 0.9 * (number * 37 % 101) for number in range(2_000)]
    usual = Usual(Watch())
    assert looked(usual, spread) == []
    assert looked(usual, [200.0], first=2_000) == [0]


def test_a_tool_that_stays_slower_is_told_of_for_a_while() -> None:
    """Then the new durations are the usual ones, and the old ones are not."""
    usual = Usual(Watch(window_size=20))
    found = looked(usual, [10.0] * 50 + [50.0] * 100)
    assert found
    assert min(found) == 50
    assert max(found) < 80
    assert looked(usual, [10.0], first=150) == [0]


def test_one_a_second_is_told_and_the_rest_counted() -> None:
    """But one that is twice as far off as the last is told at once."""
    usual = Usual(Watch())
    durations = [10 * MS] * 100 + [20 * MS, 21 * MS, 22 * MS, 200 * MS] + [10 * MS] * 20 + [30 * MS]
    ends = [number * MS for number in range(len(durations) - 1)] + [3 * SECOND]
    rows = usual.look("tool", durations, ends)
    assert [(row[0], row[4]) for row in rows] == [(100, 0), (103, 2), (124, 0)]


@pytest.mark.parametrize("batch", [1, 7, 1_000])
def test_batches_do_not_matter(batch: int) -> None:
    """An outlier among usual calls is told however the drain cuts the calls up."""
    durations = [10 * MS + number % 7 for number in range(500)]
    durations[333] = 90 * MS
    usual = Usual(Watch())
    found = []
    for at in range(0, len(durations), batch):
        part = durations[at : at + batch]
        rows = usual.look("tool", part, [SECOND * (at + n) for n in range(1, len(part) + 1)])
        found += [at + row[0] for row in rows]
    assert found == [333]


def test_tools_are_apart() -> None:
    """What is usual for one says nothing of another."""
    usual = Usual(Watch())
    ends = list(range(20))
    assert usual.look("a", [10 * MS] * 20, ends) == []
    assert usual.look("b", [90 * MS] * 20, ends) == []


def test_a_finding_is_one_line() -> None:
    """Durations in milliseconds, with what is usual and by how many calls."""
    found = Finding("tool", 0x2A, 7, SECOND, 50 * MS, 8 * MS, 12 * MS, 100, 3)
    assert sentence(found) == (
        "tool: call 000000000000002a took 50.000 ms, usual are 8.000 to 12.000 ms "
        "by the last 100 calls, and 3 more before"
    )
