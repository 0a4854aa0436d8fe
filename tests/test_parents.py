"""The current call, and carrying it to where contexts do not reach."""

from __future__ import annotations

import contextvars
import pickle
import threading

import pytest

from shmperf.parents import (
    Pair,
    adopt,
    current,
    current_call,
    hex_id,
    parent_of,
    parse_id,
    propagate,
)

ID = "00000001000000c5"


def shown() -> str | None:
    return current()


def test_adopt_sets_and_restores() -> None:
    """A block runs under the parent it was given, and nothing else does."""
    assert current() is None
    with adopt(ID):
        assert current() == ID
        with adopt(None):
            assert current() is None
        assert current() == ID
    assert current() is None


@pytest.mark.parametrize("wrong", ["", "nonsense", "1", "0x00000000000001", " " * 16, None, 5])
def test_no_parent_is_better_than_a_wrong_one(wrong: str) -> None:
    """A text that is no id means no parent."""
    with adopt(wrong):
        assert current() is None


def test_propagate_carries_the_parent_into_a_thread() -> None:
    """A wrapped callable runs under the caller's call wherever it is called."""
    found: list[str | None] = []
    with adopt(ID):
        wrapped = propagate(lambda: found.append(current()))
    thread = threading.Thread(target=wrapped)
    thread.start()
    thread.join()
    assert found == [ID]


def test_propagate_pickles_with_its_parent() -> None:
    """What was wrapped here can be called in another process."""
    with adopt(ID):
        wrapped = pickle.loads(pickle.dumps(propagate(shown)))  # noqa: S301  our own bytes
    assert wrapped() == ID
    assert wrapped.__name__ == "shown"


def test_pair_ended_elsewhere_is_nobodys_parent() -> None:
    """A call begun here and ended in another thread is not current here any more."""
    outer = Pair(5, 0)
    inner = Pair(6, outer)
    token = current_call.set(inner)
    assert current() == hex_id(6)
    inner.is_open = False
    assert current() == hex_id(5)
    outer.is_open = False
    assert current() is None
    current_call.reset(token)


def test_chain_of_pairs_holds_only_open_ones() -> None:
    """Pairs that ended elsewhere do not pile up behind the newest."""
    pair = Pair(1, 0)
    for call_id in range(2, 1000):
        pair.is_open = False
        pair = Pair(call_id, pair)
    assert pair.outer == 0
    assert parent_of(pair) == 999


def test_contexts_are_independent() -> None:
    """What a copied context adopts does not show outside."""

    def inside() -> str | None:
        current_call.set(9)
        return current()

    assert contextvars.copy_context().run(inside) == hex_id(9)
    assert current() is None


@pytest.mark.parametrize("call_id", [1, 0xFFFF_FFFF_FFFF_FFFF])
def test_ids_are_sixteen_hexadecimal_digits(call_id: int) -> None:
    """Every id has one text and the text one id."""
    assert len(hex_id(call_id)) == 16
    assert parse_id(hex_id(call_id)) == call_id
