"""Roots: found through open and remembered calls, never guessed."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.lately import Columns, Lately
from shmperf.analysis.roots import Roots
from shmperf.shm.remote import FIRST_REMOTE


def found(roots: Roots, calls: Iterable[tuple[int, int]], opened: dict[int, int]) -> dict[int, int]:
    """The ids of the roots of *calls*; nothing stands above any of them."""
    assert all(above == 0 for _, above in roots.of(list(calls), opened.get).values())
    return {call_id: root for call_id, (root, _) in roots.of(list(calls), opened.get).items()}


def drain(lately: Lately, ids: list[int], parents: list[int]) -> None:
    calls = Columns()
    calls.add("tool", (ids, parents, ids, ids), are_nested=any(parents))
    lately.add(calls)


def test_a_call_without_a_parent_is_its_own_root() -> None:
    """A root begins its trace."""
    assert found(Roots(Lately()), [(7, 0)], {}) == {7: 7}


def test_ancestors_that_are_open_lead_to_the_root() -> None:
    """A child that ends first finds its parents in the table of open calls."""
    assert found(Roots(Lately()), [(3, 2)], {2: 1, 1: 0}) == {3: 1}


def test_ancestors_drained_before_lead_to_the_root() -> None:
    """A child that comes after its parents finds them remembered."""
    lately = Lately()
    roots = Roots(lately)
    drain(lately, [1], [0])
    drain(lately, [2, 9], [1, 0])
    assert found(roots, [(3, 2), (4, 9)], {}) == {3: 1, 4: 9}


def test_open_and_drained_ancestors_in_one_chain() -> None:
    """A drained parent below an open grandparent below a drained root."""
    lately = Lately()
    roots = Roots(lately)
    drain(lately, [1, 3], [0, 2])
    assert found(roots, [(4, 3)], {2: 1}) == {4: 1}


def test_a_call_that_was_begun_elsewhere_is_a_root() -> None:
    """Its parent is no call of ours, and is what stands above all that it led to."""
    lately = Lately()
    elsewhere = FIRST_REMOTE | 5
    drain(lately, [1], [elsewhere])
    drain(lately, [2], [1])
    expected = {3: (1, elsewhere), 6: (6, elsewhere + 1), 8: (7, elsewhere + 2)}
    calls = [(3, 2), (6, elsewhere + 1), (8, 7)]
    assert Roots(lately).of(calls, {7: elsewhere + 2}.get) == expected


def test_a_root_that_cannot_be_known_is_left_out() -> None:
    """No root is better than a wrong one."""
    lately = Lately()
    roots = Roots(lately)
    drain(lately, [2], [1])
    assert found(roots, [(3, 2), (5, 4)], {}) == {}


def test_what_is_remembered_is_bounded() -> None:
    """The oldest batches go, whole, once the rest is enough."""
    lately = Lately(most=4, batch=2)
    roots = Roots(lately)
    for first in range(1, 100, 2):
        drain(lately, [first, first + 1], [0, first])
        assert found(roots, [(1_000, first + 1)], {}) == {1_000: first}
    assert found(roots, [(1_000, 97)], {}) == {1_000: 97}
    assert found(roots, [(1_000, 1)], {}) == {}


def test_a_circle_ends() -> None:
    """Damaged rows that name each other have no root."""
    assert found(Roots(Lately()), [(3, 2)], {2: 1, 1: 2}) == {}


def test_deep_calls_are_looked_at_once() -> None:
    """Of a recursion of any depth each call's parent is asked for once, in whichever order."""
    depth, asked = 20_000, []
    calls = [(n, n - 1) for n in range(1, depth + 1)]
    opened = dict(calls)

    def above(call_id: int) -> int | None:
        asked.append(call_id)
        return opened.get(call_id)

    for order in (calls, calls[::-1]):
        asked.clear()
        assert Roots(Lately()).of(order, above) == dict.fromkeys(opened, (1, 0))
        assert len(asked) == len(set(asked))


def test_deep_calls_without_a_root_are_looked_at_once() -> None:
    """That it can't be known is known, too."""
    asked = []
    opened = {n: n - 1 for n in range(2, 5_000)}

    def above(call_id: int) -> int | None:
        asked.append(call_id)
        return opened.get(call_id)

    assert Roots(Lately()).of(opened.items(), above) == {}
    assert len(asked) < 2 * len(opened)


@given(
    st.lists(st.integers(0, 30), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.integers(1, 7),
)
def test_roots_are_those_of_the_whole_tree(
    above: list[int], is_open: list[bool], size: int
) -> None:
    """Against a model: wherever a call's ancestors are, its root is the one of the tree."""
    parent = {n: (above[n - 1] if above[n - 1] < n else 0) for n in range(1, len(above) + 1)}
    drained = [n for n in parent if not is_open[n - 1]]
    lately = Lately(batch=3)
    roots = Roots(lately)
    for first in range(0, len(drained), size):
        batch = drained[first : first + size]
        drain(lately, batch, [parent[n] for n in batch])
    opened = {n: parent[n] for n in parent if is_open[n - 1]}

    def root(n: int) -> int:
        return root(parent[n]) if parent[n] else n

    assert found(roots, parent.items(), opened) == {n: root(n) for n in parent}
