"""What took most of a call's time."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.culprit import Culprit, culprit
from shmperf.analysis.waterfall import Span, traced


def span(number: int, parent: int | None, tool: str, start: float, took: float | None) -> Span:
    return Span(
        id=str(number),
        tool=tool,
        parent=None if parent is None else str(parent),
        start_s=start,
        duration_s=took,
    )


def found(*spans: Span, now_s: float = 100.0) -> Culprit | None:
    return culprit(traced(spans, "1")[0], now_s)


def test_the_way_leads_down_to_the_one_that_takes_the_time() -> None:
    """A child that only waits for its own child is passed through; calls of a tool are one."""
    told = found(
        span(1, None, "answer", 0, 10),
        span(2, 1, "search", 0, 9),
        span(3, 2, "embed", 1, 4),
        span(4, 2, "embed", 5, 4),
        span(5, 1, "walk", 9, 1),
    )
    assert told == Culprit(path=["search", "embed"], calls=2, open=0, time_s=8, share=0.8)


def test_what_ran_at_once_is_not_counted_twice() -> None:
    """Ten that ran beside each other for a second took a second."""
    fetches = [span(n, 1, "fetch", 1, 1) for n in range(2, 12)]
    told = found(span(1, None, "gather", 0, 4), *fetches)
    assert told == Culprit(path=[], calls=1, open=0, time_s=3, share=0.75)


def test_where_nothing_stands_out_the_largest_is_named() -> None:
    """Its share says that it is less than a half."""
    told = found(
        span(1, None, "a", 0, 10),
        span(2, 1, "b", 0, 4),
        span(3, 1, "c", 4, 3),
        span(4, 1, "d", 7, 3),
    )
    assert told == Culprit(path=["b"], calls=1, open=0, time_s=4, share=0.4)


def test_an_open_call_is_looked_at_until_now() -> None:
    """What is open below it is what it waits for."""
    opened = [
        msgspec.structs.replace(one, status="open")
        for one in (span(1, None, "a", 90, None), span(2, 1, "b", 92, None))
    ]
    told = found(*opened)
    assert told == Culprit(path=["b"], calls=1, open=1, time_s=8, share=0.8)


@pytest.mark.parametrize("status", ["aborted", "error"])
def test_of_a_call_without_an_end_nothing_is_told(status: str) -> None:
    """Nobody knows how long it took; nor of one that took no time at all."""
    assert found(msgspec.structs.replace(span(1, None, "a", 0, None), status=status)) is None
    assert found(span(1, None, "a", 5, 0)) is None


times = st.floats(0, 100)
tools = st.sampled_from("abc")


@given(st.lists(st.tuples(st.integers(1, 20), tools, times, st.none() | times), max_size=19))
def test_a_share_is_one(children: list[tuple[int, str, float, float | None]]) -> None:
    """Whatever lies below, what took most took something, and no more than there was."""
    below = [span(number, *one) for number, one in enumerate(children, 2)]
    told = found(span(1, None, "top", 10, 50), *below)
    assert told is not None
    assert 0 <= told.share <= 1 + 1e-9
    assert told.time_s == pytest.approx(told.share * 50)
