"""The current call, and carrying it to where contexts do not reach."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import functools
import pickle
import subprocess
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shmperf.worker.adoption import adopt, propagate
from shmperf.worker.context import Pair, current, current_call, hex_id, parent_of, parse_id
from tests.support import PYTHON

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


@pytest.mark.parametrize(
    "wrong",
    [
        "0" * 16,
        ID.upper(),
        f"+{ID[1:]}",
        f"0x{ID[2:]}",
        "0000_0001_000000c",
        f"{ID}0",
        f" {ID}",
        f"{ID}\n",
        "\N{ARABIC-INDIC DIGIT ONE}" * 16,
        "\N{FULLWIDTH DIGIT ONE}" * 16,
        ID.encode(),
        int(ID, 16),
        [ID],
    ],
)
def test_only_the_one_form_of_an_id_is_read(wrong: object) -> None:
    """What is not exactly 16 lower-case hexadecimal digits is no id."""
    assert parse_id(wrong) == 0


@given(st.one_of(st.text(max_size=20), st.text("0123456789abcdefABCDEF_+-xX ", max_size=18)))
@example(ID)
def test_texts_that_are_ids_come_back_as_themselves(text: str) -> None:
    """No two texts stand for the same id."""
    call_id = parse_id(text)
    assert 0 <= call_id < 1 << 64
    if call_id:
        assert hex_id(call_id) == text


def test_adopt_restores_when_its_block_raises() -> None:
    """An exception passes through, and the former parent is current again."""
    with adopt(ID):
        with pytest.raises(KeyError, match="mine"), adopt(hex_id(3)):
            raise KeyError("mine")
        assert current() == ID
    assert current() is None


def test_tasks_inherit_and_keep_to_themselves() -> None:
    """A task begins under its creator's call; what it adopts shows in no other task."""

    async def child(parent: str | None, here: asyncio.Barrier) -> list[str | None]:
        inherited = current()
        with adopt(parent):
            await here.wait()
            return [inherited, current(), await asyncio.to_thread(current)]

    async def main() -> list[list[str | None]]:
        here = asyncio.Barrier(2)
        with adopt(ID):
            first = asyncio.create_task(child(hex_id(1), here))
        second = asyncio.create_task(child(None, here))
        return [await first, await second]

    one = hex_id(1)
    assert asyncio.run(main()) == [[ID, one, one], [None, None, None]]


def test_threads_have_no_parent_unless_it_is_carried() -> None:
    """An executor's thread knows the caller's call only by `propagate`, and for that call only."""
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        with adopt(ID):
            bare = executor.submit(current)
            carried = executor.submit(propagate(current))
            afterwards = executor.submit(current)
        assert [bare.result(), carried.result(), afterwards.result()] == [None, ID, None]


def test_propagated_callable_belongs_to_where_it_was_made() -> None:
    """The parent is that of the making, not of the calling, and the caller's is kept."""
    with adopt(ID):
        wrapped = propagate(current)
    outside = propagate(current)
    with adopt(hex_id(8)):
        assert wrapped() == ID
        assert outside() is None
        assert current() == hex_id(8)


def test_propagate_changes_neither_results_nor_errors() -> None:
    """Arguments, result and exception are those of the function."""

    def divide(a: int, *, by: int) -> float:
        """Divide."""
        return a / by

    wrapped = propagate(divide)
    assert wrapped(6, by=3) == 2
    with pytest.raises(ZeroDivisionError):
        wrapped(6, by=0)
    with pytest.raises(TypeError):
        wrapped()  # type: ignore[call-arg]
    assert (wrapped.__name__, wrapped.__doc__) == ("divide", "Divide.")
    assert current() is None


@pytest.mark.parametrize(
    "function", [functools.partial(int, "7"), "7".__len__, len, "{}".format, shown, int]
)
def test_any_callable_is_carried_and_pickles(function: object) -> None:
    """Partials, methods, builtins and classes can be wrapped, and pickle as they do."""
    with adopt(ID):
        wrapped = propagate(function)  # type: ignore[arg-type]
    again = pickle.loads(pickle.dumps(wrapped))  # noqa: S301  our own bytes
    assert callable(again)
    once = pickle.loads(pickle.dumps(propagate(again)))  # noqa: S301  our own bytes
    assert callable(once)


def test_another_process_runs_under_the_parent_it_was_sent() -> None:
    """A pickled callable carries its parent into a process that knows nothing else."""
    with adopt(ID):
        sent = pickle.dumps(propagate(current))
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer)())"
    done = subprocess.run([PYTHON, "-c", code], input=sent, capture_output=True, check=True)
    assert done.stdout.decode().strip() == ID


def test_pair_ended_in_another_context_ends_in_all_of_them() -> None:
    """Copies of a context resolve a pair alike: open while it is open, then what was outside."""
    with adopt(ID):
        pair = Pair(7, current_call.get())
        token = current_call.set(pair)
        copied = contextvars.copy_context()
        current_call.reset(token)
    assert copied.run(current) == hex_id(7)
    ending = threading.Thread(target=setattr, args=(pair, "is_open", False))
    ending.start()
    ending.join()
    assert copied.run(current) == ID
    assert copied.run(lambda: parent_of(current_call.get())) == int(ID, 16)


@pytest.mark.parametrize("closed", range(8))
def test_parent_is_the_innermost_pair_that_is_open(closed: int) -> None:
    """Whichever of three nested pairs have ended, the next open one outside is the parent."""
    outer = Pair(1, 9)
    middle = Pair(2, outer)
    inner = Pair(3, middle)
    pairs = (inner, middle, outer)
    for number, pair in enumerate(pairs):
        pair.is_open = not closed >> number & 1
    expected = next((pair.call_id for pair in pairs if pair.is_open), 9)
    assert parent_of(inner) == expected


def test_pair_begun_under_an_ended_one_skips_it() -> None:
    """A pair remembers only what was open when it began."""
    ended = Pair(1, 5)
    ended.is_open = False
    assert Pair(2, ended).outer == 5


def test_propagated_pair_is_carried_as_its_id() -> None:
    """A call begun by hand is a parent in other threads like any other."""
    token = current_call.set(Pair(7, 0))
    wrapped = propagate(current)
    current_call.reset(token)
    found: list[str | None] = []
    thread = threading.Thread(target=lambda: found.append(wrapped()))
    thread.start()
    thread.join()
    assert found == [hex_id(7)]


def test_nobody_is_nobodys_parent() -> None:
    """Without a current call there is no id, in a fresh context and in a thread."""
    assert contextvars.Context().run(current) is None
    assert parent_of(0) == 0
