"""A call's tree: own times and gaps by the intervals of its children, bounded whatever it holds."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.waterfall import MOST_SPANS, Span, Traced, traced


def span(number: int, parent: int | None, start: float, duration: float | None) -> Span:
    above = None if parent is None else f"{parent:x}"
    return Span(id=f"{number:x}", tool="t", parent=above, start_s=start, duration_s=duration)


def gaps(node: Traced) -> list[tuple[float, float]]:
    return [(gap.offset_s, gap.duration_s) for gap in node.gaps]


def test_gaps_lie_where_no_child_runs() -> None:
    """Before, between and behind; children that overlap count once, and none beyond the end."""
    spans = [
        span(1, None, 100, 10),
        span(2, 1, 101, 2),
        span(3, 1, 102, 2),
        span(4, 1, 107, 9),
        span(5, 4, 107, 1),
    ]
    found, is_cut = traced(spans, "1")
    assert not is_cut
    assert gaps(found) == [(0, 1), (4, 3)]
    assert found.own_s == 4
    assert [child.offset_s for child in found.children] == [1, 2, 7]
    assert gaps(found.children[2]) == [(1, 8)]


def test_a_child_that_is_open_is_taken_to_run_on() -> None:
    """What has begun below is nobody's own time."""
    for status in ("open", "aborted"):
        child = msgspec.structs.replace(span(2, 1, 4, None), status=status)
        found, _ = traced([span(1, None, 0, 10), child], "1")
        assert gaps(found) == [(0, 4)]
    opened, _ = traced([span(1, None, 0, None), span(2, 1, 4, 1)], "1")
    assert (opened.own_s, opened.gaps) == (None, [])


def test_a_child_that_nobody_timed_takes_no_time() -> None:
    """It failed, and was sampled out: that it ran on is nothing that is known."""
    child = msgspec.structs.replace(span(2, 1, 4, None), status="error")
    found, _ = traced([span(1, None, 0, 10), child], "1")
    assert found.own_s == 10
    assert gaps(found) == [(0, 4), (4, 6)]


@pytest.mark.parametrize("deep", [True, False])
def test_a_tree_is_bounded(deep: bool) -> None:
    """Of very many calls, side by side or nested, the nearest are shown, and it is said."""
    spans = [
        span(n, None if n == 1 else n - 1 if deep else 1, n, 1) for n in range(1, MOST_SPANS + 9)
    ]
    found, is_cut = traced(spans, "1")
    assert is_cut
    count, level = 0, [found]
    while level:
        count += len(level)
        level = [child for node in level for child in node.children]
    assert 200 <= count <= MOST_SPANS


def test_of_a_circle_each_call_is_shown_once() -> None:
    """Parents that lead back, or to themselves, end the tree."""
    spans = [span(1, 3, 0, 9), span(2, 1, 1, 1), span(3, 2, 2, 1), span(4, 4, 0, 1)]
    found, is_cut = traced(spans, "1")
    assert [child.id for child in found.children] == ["2"]
    assert [child.id for child in found.children[0].children] == ["3"]
    assert (found.children[0].children[0].children, is_cut) == ([], False)


times = st.floats(0, 100)


@given(st.lists(st.tuples(times, st.none() | times), max_size=20), times)
def test_own_time_and_gaps_agree(children: list[tuple[float, float | None]], whole: float) -> None:
    """The sum of the gaps is the own time, between nothing and the whole."""
    below = [span(number, 1, *times) for number, times in enumerate(children, 2)]
    found, _ = traced([span(1, None, 0, whole), *below], "1")
    assert found.own_s is not None
    assert 0 <= found.own_s <= whole * (1 + 1e-9)
    if below:
        assert found.own_s == pytest.approx(sum(gap.duration_s for gap in found.gaps))
        reached = 0.0
        for gap in found.gaps:
            assert gap.offset_s >= reached * (1 - 1e-9)
            reached = gap.offset_s + gap.duration_s
