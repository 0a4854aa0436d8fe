"""Families of calls, added and summed in C and in Python."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis import children
from shmperf.analysis.families import Bounds, Families
from shmperf.compiled.chosen import hot, why_not

pytestmark = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")

_TIMES = st.one_of(
    st.integers(0, 50), st.integers(0, 1 << 61), st.integers(0, (1 << 64) - 1), st.just(1 << 62)
)
_ROWS = st.lists(
    st.tuples(_TIMES, _TIMES, st.integers(0, 9), st.sampled_from([f"t{n}" for n in range(20)])),
    max_size=30,
)


@given(_ROWS, _TIMES, st.integers(0, 1 << 60), st.booleans())
@settings(deadline=None, max_examples=500)
def test_a_sum_made_in_c_is_the_same(rows: Any, start: int, took: int, is_ended: bool) -> None:
    """By tool, the time covered, ids, and the order in which rows are left."""
    if is_ended:
        rows = [(min(begin, end), end, call_id, tool) for begin, end, call_id, tool in rows]
    mine, theirs = list(rows), list(rows)
    tools = children.add_up(mine, {})
    covered = children.covered_within(mine, start, start + took)
    ids = [row[2] for row in mine if row[2]]
    assert children.sum_of(theirs, start, start + took) == (tools, covered, ids)
    assert theirs == mine


@given(st.lists(st.tuples(st.integers(0, 4), _TIMES, _TIMES, _TIMES), max_size=40))
def test_children_added_in_c_are_the_same(found: Any) -> None:
    """Rows by parent, and which families have changed."""
    columns = [list(column) for column in zip(*found, strict=True)] or [[], [], [], []]
    parents, ids, starts, ends = columns
    mine, theirs = Families(Bounds()), Families(Bounds())
    words = tuple(array("Q", column) for column in (ids, parents, starts, ends))
    assert theirs.add("t", words) == mine.add("t", (ids, parents, starts, ends))
    assert theirs.rows == mine.rows
    assert theirs.take_change() == mine.take_change()


def test_columns_that_are_none_are_refused() -> None:
    """Of another length, or no words at all."""
    rows = Families(Bounds()).rows
    one, two = array("Q", [1]), array("Q", [1, 2])
    for columns in ((one, two, one, one), ([1], one, one, one), (one, one, one, b"abc")):
        with pytest.raises(TypeError):
            hot.add_children(rows, set(), "t", *columns)
