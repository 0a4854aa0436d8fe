"""What lay below a call, from the columns of calls drained lately."""

from __future__ import annotations

from shmperf.analysis.branches import below
from shmperf.analysis.lately import Columns, Lately


def add(lately: Lately, tool: str, *rows: tuple[int, int, int, int]) -> None:
    """Rows of id, parent, start and end."""
    calls = Columns()
    calls.add(tool, list(zip(*rows, strict=True)), are_nested=any(row[1] for row in rows))
    lately.add(calls)


def test_a_tree_is_found_level_by_level() -> None:
    """Whatever the order in which its calls were drained, by start within a level."""
    lately = Lately(batch=2)
    add(lately, "leaf", (5, 3, 40, 50), (4, 2, 15, 20), (6, 3, 30, 35))
    add(lately, "mid", (3, 1, 25, 60), (2, 1, 12, 22))
    add(lately, "top", (1, 0, 10, 70), (8, 0, 10, 70))
    add(lately, "leaf", (9, 8, 11, 12))
    tree = below(lately, 1, 10, 200)
    assert [(node.id, node.parent, node.tool) for node in tree.nodes] == [
        (2, 1, "mid"),
        (3, 1, "mid"),
        (4, 2, "leaf"),
        (6, 3, "leaf"),
        (5, 3, "leaf"),
    ]
    assert tree.nodes[0].duration_ns == 10
    assert not tree.is_cut
    assert below(lately, 4, 15, 200).nodes == []
    add(lately, "leaf", (10, 2, 20, 21))
    assert [node.id for node in below(lately, 2, 12, 200).nodes] == [4, 10]


def test_a_large_tree_is_cut_and_says_so() -> None:
    """The calls nearest to the top stay, the earliest of the last level."""
    lately = Lately()
    add(lately, "mid", *((number, 1, number, 1000) for number in range(2, 5)))
    add(lately, "leaf", *((100 + number, 2, number, number + 1) for number in range(300, 10, -1)))
    tree = below(lately, 1, 0, 10)
    assert [node.id for node in tree.nodes] == [2, 3, 4, *range(111, 118)]
    assert tree.is_cut
    assert not below(lately, 3, 3, 10).is_cut


def test_what_is_let_go_is_missing_and_said_to_be() -> None:
    """Memory is bounded; a tree that began before the oldest that is known may be incomplete."""
    lately = Lately(most=100, batch=10)
    for number in range(1000):
        add(lately, "leaf", (10_000 + number, number // 2 + 1, number * 10, number * 10 + 5))
    old, new = below(lately, 3, 40, 200), below(lately, 500, 9980, 200)
    assert (old.nodes, old.is_cut) == ([], True)
    assert (len(new.nodes), new.is_cut) == (2, False)


def test_a_circle_of_damaged_ids_ends() -> None:
    """Ids come from other processes."""
    lately = Lately()
    add(lately, "a", (1, 2, 0, 10), (2, 1, 0, 10), (3, 3, 0, 10))
    assert len(below(lately, 1, 0, 200).nodes) == 200
    assert below(lately, 3, 0, 200).is_cut


def test_calls_without_a_parent_cost_nothing() -> None:
    """A flat program has no trees to remember."""
    lately = Lately()
    add(lately, "flat", *((number, 0, 0, 1) for number in range(1, 1000)))
    assert not below(lately, 1, 0, 200).is_cut
    assert lately.horizon_ns == 0
