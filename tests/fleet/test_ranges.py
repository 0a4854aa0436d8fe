"""Ranges of line numbers, against a set of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.fleet.ranges import Range, Ranges

RANGES = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 12)).map(lambda one: (one[0], one[0] + one[1])),
    max_size=30,
)


def numbers(ranges: list[Range]) -> list[int]:
    return [number for first, after in ranges for number in range(first, after)]


@given(RANGES)
def test_each_number_is_new_once(added: list[Range]) -> None:
    """Whatever comes again, in whatever cuts: what is new is what the set had not."""
    have, model = Ranges(), set[int]()
    for first, after in added:
        expected = [number for number in range(first, after) if number not in model]
        assert numbers(have.missing(first, after)) == expected
        assert numbers(have.add(first, after)) == expected
        model.update(range(first, after))
    assert numbers(have.encode()) == sorted(model)
    assert len(have) == len(model)
    assert have.end == max(model, default=-1) + 1
    assert all((number in have) == (number in model) for number in range(80))
    inner = set(range(min(model, default=0), have.end)) - model
    assert numbers(have.holes()) == sorted(inner)


@given(RANGES)
def test_ranges_survive_their_encoding(added: list[Range]) -> None:
    """They are sorted, not empty, and do not touch."""
    have = Ranges(added)
    encoded = have.encode()
    assert Ranges(encoded) == have
    assert all(first < after for first, after in encoded)
    assert all(one[1] < other[0] for one, other in pairwise(encoded))


@pytest.mark.parametrize("wrong", [(2, 1), (-1, 2)])
def test_what_is_no_range_is_refused(wrong: Range) -> None:
    """Numbers from elsewhere are checked here, too."""
    with pytest.raises(ValueError, match="no range"):
        Ranges([wrong])
