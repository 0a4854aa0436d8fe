"""Families of calls, added and settled in C and in Python."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from operator import sub
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shmperf.analysis.calltree import CallTree, TreeDelta
from shmperf.analysis.families import Bounds, Families
from shmperf.compiled.chosen import hot, why_not

pytestmark = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")

_TIMES = st.one_of(
    st.integers(0, 50), st.integers(0, 1 << 61), st.integers(0, (1 << 64) - 1), st.just(1 << 62)
)
_TOOLS = st.sampled_from([f"t{n}" for n in range(20)])


@given(st.lists(st.tuples(_TIMES, _TIMES, st.integers(0, 9), _TOOLS), max_size=30))
def test_rows_in_c_are_those_of_a_list(rows: Any) -> None:
    """As many, in their order."""
    found = hot.Children()
    for row in rows:
        found.append(row)
    assert list(found) == rows
    assert len(found) == len(rows)


@pytest.mark.parametrize(
    "row", [(1, 2, 3), [1, 2, 3, "t"], (1, 2, 3, 4), (-1, 2, 3, "t"), (1, 1 << 64, 3, "t")]
)
def test_what_is_no_row_is_refused(row: Any) -> None:
    """And nothing of it is left."""
    found = hot.Children()
    with pytest.raises((TypeError, OverflowError)):
        found.append(row)
    assert list(found) == []


class _InPython(Families):
    """One that does everything in Python, on the compiled path too."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self.rows = defaultdict(list)

    def add_words(self, *_: Any) -> None:
        """Nothing is done."""

    def settle_words(self, *_: Any) -> None:
        """Nothing is done."""


_PARENTS = st.integers(0, 4)


@given(
    st.lists(st.tuples(_PARENTS, _TIMES, _TIMES, _TIMES), min_size=1, max_size=40), st.booleans()
)
@settings(deadline=None)
@example([(1, 0, 1, 2), (0, 3, 4, 5), (1, 6, 7, 8), (2, 0, 0, 0)], False)
def test_children_added_in_c_are_the_same(found: Any, are_short: bool) -> None:
    """Rows by parent, who has none, and which families have changed; whatever holds the numbers."""
    found = [(i, *sorted(times[:2]), parent) for parent, i, *times in found]
    if are_short:
        found = [(i, start, start + (end & 0xFFFF), parent) for i, start, end, parent in found]
    ids, starts, ends, parents = (list(column) for column in zip(*found, strict=True))
    are_words = max(ends) < 1 << 64 and max(map(sub, ends, starts)) < 1 << 40
    mine = _InPython(Bounds())
    alone = mine.add("t", (ids, parents, starts, ends))
    change = mine.take_change()
    for form in (list, tuple, partial(array, "Q")) if max(ends) < 1 << 64 else (list, tuple):
        columns: Any = [form(column) for column in (ids, parents, starts, ends)]
        theirs = Families(Bounds())
        assert theirs.add_words("t", columns) == (alone if are_words else None)
        if not are_words:
            assert theirs.take_change() == ({}, [], 0)
            assert theirs.add("t", columns) == alone
        assert theirs.take_change() == change


def test_columns_that_are_none_are_left_to_python() -> None:
    """Of another length, of other words, or no words at all."""
    families, changed = Families(Bounds()).rows, set[int]()
    one, two = array("Q", [1]), array("Q", [1, 2])
    bad: Any = [(one, two, one, one), (one, [1.5], one, one), (one, one, one, 7)]
    bad += [(one, array("d", [1]), one, one), (one, [-1], one, one), (one, b"12345678", one, one)]
    for columns in bad:
        assert hot.add_children(families, changed, "t", *columns) is None
    with pytest.raises(TypeError):
        hot.add_children(families, changed, "t", 7, one, one, one)
    assert (families, changed) == ({}, set())


# --- settling ------------------------------------------------------------------------------------

_FEW = Bounds(families=20, ids=5, spans=3, edges=12, remembered=10, rows=30, crowd=3)
_IDS = st.integers(1, 25)
_WORKERS = st.sampled_from(["w1", "w2"])
_MOMENTS = st.one_of(st.integers(0, 90), st.integers(0, 90), _TIMES)
_CALL = st.tuples(_IDS, st.one_of(st.just(0), _IDS), _MOMENTS, _MOMENTS)


class Twins(RuleBasedStateMachine):
    """Two trees that are told the same, one of which does everything in Python."""

    @initialize(bounds=st.sampled_from([_FEW, Bounds()]))
    def begin(self, bounds: Bounds) -> None:
        self.mine, self.theirs = CallTree(bounds), CallTree(bounds)
        self.mine._families = _InPython(bounds)

    def _same(self, asked: Callable[[CallTree], Any]) -> Any:
        mine = asked(self.mine)
        assert asked(self.theirs) == mine
        return mine

    @rule(
        worker=_WORKERS,
        tool=_TOOLS,
        calls=st.lists(_CALL, min_size=1, max_size=12),
        form=st.sampled_from([list, tuple, partial(array, "Q")]),
    )
    def add(self, worker: str, tool: str, calls: Any, form: Any) -> None:
        columns = tuple(form(column) for column in zip(*calls, strict=True))
        self._same(lambda tree: tree.add(worker, tool, columns))

    @rule(worker=_WORKERS, wanted=st.one_of(st.none(), st.sets(_IDS)))
    def pass_done(self, worker: str, wanted: set[int] | None) -> None:
        self._same(lambda tree: tree.pass_done(worker, wanted))

    @rule(worker=_WORKERS, wanted=st.one_of(st.none(), st.sets(_IDS)))
    def worker_gone(self, worker: str, wanted: set[int] | None) -> None:
        self._same(lambda tree: tree.worker_gone(worker, wanted))

    @rule(call_id=_IDS, tool=_TOOLS)
    def abort(self, call_id: int, tool: str) -> None:
        self._same(lambda tree: tree.add_aborted({call_id: tool}))

    @rule()
    def journal(self) -> None:
        self._same(lambda tree: _without_order(tree.take_delta()))

    @rule()
    def restart(self) -> None:
        """Rows are lists then, as a journal has them."""
        state = self.mine.state()
        for name, families in (("mine", _InPython), ("theirs", Families)):
            tree = CallTree(self.mine.bounds)
            tree._families = families(tree.bounds)
            delta = TreeDelta(edges=state.edges, families=state.families, let_go=state.let_go)
            tree.apply(msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=TreeDelta))
            setattr(self, name, tree)

    @invariant()
    def are_the_same(self) -> None:
        """What a snapshot holds, and what was covered."""
        self._same(CallTree.state)
        self._same(lambda tree: sorted(tree.covered))
        self._same(lambda tree: list(tree._families.rows))


def _without_order(delta: TreeDelta | None) -> TreeDelta | None:
    if delta is None:
        return None
    edges = sorted(delta.edges, key=lambda edge: (edge.parent or "", edge.tool))
    return msgspec.structs.replace(delta, edges=edges, removed=sorted(delta.removed))


TestTwins = Twins.TestCase
TestTwins.settings = settings(deadline=None, max_examples=200, stateful_step_count=25)


def test_an_error_in_settling_reaches_who_asks() -> None:
    """Of what is not simple, and of what can't be asked whether it is wanted."""

    def fail(*_: Any) -> Any:
        raise LookupError

    one, nothing = array("Q", [1]), array("Q", [0])
    chunks: Any = [("root", (one, nothing, nothing, array("Q", [9])))]
    for wanted, family, error in ((None, [], LookupError), (7, hot.Children(), TypeError)):
        families = {1: family}
        family.append((1, 2, 3, "leaf"))
        with pytest.raises(error):
            hot.settle(families, {}, chunks, wanted, 5, [], fail)


@pytest.mark.parametrize(
    "chunks", [[7], [("t",)], [("t", 7)], [("t", ([1],))], [("t", ([1], [1], [1], [-1]))]]
)
def test_chunks_that_are_none_are_left_to_python(chunks: Any) -> None:
    """And nothing is done."""
    assert hot.settle({1: hot.Children()}, {}, chunks, None, 5, [], print) is None
