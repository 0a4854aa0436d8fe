"""Parameters of any kind become bytes: bounded, in order, and never a failure of the tool."""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.capture import (
    error_class,
    error_text,
    failed_body,
    picture,
    picture_all,
    short_body,
    status_for,
)
from shmperf.record import NAMED, PRUNED, Status

unpack = msgspec.msgpack.decode


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no picture")


class Large:
    def __repr__(self) -> str:
        return "L" * 1_000_000


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

ODD = [
    Broken(),
    Large(),
    CYCLE,
    1 << 70,
    -(1 << 5000),
    "\ud800",
    {1: 2, None: 3, (1, 2): {4, 5}},
    collections.OrderedDict(a=1),
    frozenset({1}),
    b"\xff" * 10,
    bytearray(5),
    memoryview(b"abc"),
    dt.datetime(2026, 1, 2, tzinfo=dt.UTC),
    float("nan"),
    object,
    [[[[[[[[[[1]]]]]]]]]],
    {"k" * 1000: "v" * 1000},
]


@pytest.mark.parametrize("value", ODD, ids=[str(n) for n in range(len(ODD))])
def test_anything_becomes_bytes_that_decode(value: object) -> None:
    """Values that msgpack does not know, or that are hostile, are shown, bounded."""
    small = picture((value,), {"k": value})
    assert len(small.body) < 6_000
    unpack(small.body)
    unpack(picture_all((value,), {"k": value}).body)


def test_repr_that_raises_is_counted() -> None:
    """A repr that raises shows the class, and is told."""
    found = picture((Broken(),), {})
    assert found.failures == 1
    assert unpack(found.body) == ["<Broken: repr failed>"]
    assert picture_all((Broken(),), {}).failures == 1


def test_a_large_string_is_only_looked_at_where_it_is_shown() -> None:
    """50 MB cost what the summary shows of them."""
    found = picture(("x" * 50_000_000,), {})
    assert len(found.body) < 300
    assert found.flags & PRUNED


def test_a_large_container_is_not_walked_to_its_end() -> None:
    """Of an endless sequence as much is taken as the summary can show."""

    class Endless(list[int]):
        def __iter__(self) -> Any:
            return iter(range(10**9))

    assert len(picture((Endless(),), {}).body) < 1_000


@given(
    st.lists(st.one_of(st.integers(-(2**63), 2**63), st.text(max_size=30), st.none()), max_size=4),
    st.dictionaries(st.text(min_size=1, max_size=5), st.floats(allow_nan=False), max_size=3),
)
def test_short_parameters_come_back_as_they_were(args: list[Any], kwargs: dict[str, Any]) -> None:
    """What is short enough is encoded whole, and decodes to itself."""
    body = short_body(tuple(args), kwargs)
    if body is None:
        return
    found = unpack(body)
    if args and kwargs:
        assert found == [args, kwargs]
    else:
        assert found == (kwargs or args)


def test_keywords_beside_positions_are_flagged() -> None:
    """Both kinds of arguments travel together, and say so."""
    assert picture((1,), {"a": 2}).flags & NAMED
    assert unpack(picture_all((1,), {"a": 2}).body) == [[1], {"a": 2}]


def test_everything_is_kept_whole_in_optimization_mode() -> None:
    """All parameters, whatever their size."""
    value = {"deep": [{"text": "x" * 100_000}] * 3}
    assert unpack(picture_all((), value).body) == value


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, Status.OK),
        (ValueError(), Status.ERROR),
        (KeyboardInterrupt(), Status.ERROR),
        (TimeoutError(), Status.TIMEOUT),
        (asyncio.CancelledError(), Status.CANCELLED),
        (concurrent.futures.CancelledError(), Status.CANCELLED),
    ],
)
def test_outcome_follows_the_exception(error: BaseException | None, status: Status) -> None:
    """Errors, timeouts and cancellations are told apart."""
    assert status_for(error) == status


def test_error_is_bounded_and_never_raises() -> None:
    """An error's class and text are bounded; a str that raises is shown as such."""

    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert error_text(Odd()) == "<str failed>"
    assert len(error_text("x" * 100_000)) == 10_000
    assert error_class(Odd()).endswith("Odd")
    assert unpack(failed_body(b"", "E")) == [None, "E"]
