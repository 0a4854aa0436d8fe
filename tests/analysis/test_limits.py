"""The newest of a tool, against sorting everything."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.limits import Newest

LIMITS = st.integers(-1, 6)
BATCHES = st.lists(st.lists(st.integers(0, 30), max_size=12), max_size=8)


class Opaque:
    """A third field that can't be compared."""


def number(batches):
    """Batches of ends as batches of (end, id, payload), ids unique."""
    ids = iter(range(1000))
    return [[(end, next(ids), Opaque()) for end in batch] for batch in batches]


@given(LIMITS, BATCHES)
def test_what_is_kept_is_the_newest_by_end(limit, batches):
    """However it came: the last of everything, in order of end."""
    newest, everything = Newest(limit), []
    for batch in number(batches):
        newest.add(batch)
        everything += batch
        assert len(newest) == (len(everything) if limit < 0 else min(limit, len(everything)))
    expected = sorted(everything, key=lambda call: call[:2])
    if limit >= 0:
        expected = expected[len(expected) - min(limit, len(expected)) :]
    assert newest.take() == expected


@given(LIMITS, BATCHES)
def test_nothing_is_left_after_taking(limit, batches):
    """Taking empties, and the next calls are kept by themselves."""
    newest = Newest(limit)
    for batch in number(batches):
        newest.add(batch)
    newest.take()
    assert len(newest) == 0
    assert newest.take() == []


def test_memory_follows_the_limit_and_not_the_traffic():
    """Never more than twice the limit is held between two batches."""
    newest = Newest(10)
    for end in range(1000):
        newest.add([(end, end)])
        assert len(newest._items) <= 20


def test_what_is_held_is_sorted_at_twice_the_limit_and_not_before():
    """One by one it grows to twice the limit; the next one leaves the newest of the limit."""
    newest, held = Newest(3), []
    for end in range(10):
        newest.add([(end, end)])
        held.append(len(newest._items))
    assert held == [1, 2, 3, 4, 5, 6, 3, 4, 5, 6]
