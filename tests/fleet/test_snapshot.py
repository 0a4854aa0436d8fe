"""What a node says of itself: bounded, without parameters, and never believed as it comes."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.stats import Books, Figures, plain
from shmperf.analysis.totals import Totals
from shmperf.errors import FormatError
from shmperf.fleet.merging import Merged, merge
from shmperf.fleet.snapshot import OTHER, VERSION, Node, Snapshot, bounded, decode, encode
from shmperf.storage.codecs import CODECS
from shmperf.testing import assert_books_balance

from .saying import ORIGIN, Made, snapshot_of

_CALLS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 10**12),
        st.sampled_from([None, "a", "b"]),
        st.sampled_from([None, None, "ValueError", "KeyError"]),
        st.sampled_from([None, "f1", "f2"]),
        st.booleans(),
    ),
    max_size=80,
)


def _answers(merged: Merged) -> tuple[object, ...]:
    errors = [
        (group.fingerprint, group.tool, group.err, group.count, group.first, group.last)
        for group in merged.errors()
        if group.fingerprint is None
    ]
    caught = {
        group.fingerprint: (group.count, group.calls, sorted(group.tools), group.first, group.last)
        for group in merged.errors()
        if group.fingerprint is not None
    }
    slow = [call.duration_s for call in merged.slowest(10)]
    edges = [(edge.parent, edge.tool, edge.calls, edge.total_ns) for edge in merged.tree()]
    stats = plain(merged.stats())
    for tool in stats["tool_stats"].values():
        # The sum of what each node keeps.
        tool["max_size"] = 0
    return stats, edges, sorted(errors, key=str), caught, slow


@given(_CALLS)
def test_nodes_together_say_what_one_would(drawn: list[tuple[object, ...]]) -> None:
    """The snapshots of any partition of calls make the answer of one node that had them all."""
    calls = [Made(number + 1, *one[1:]) for number, one in enumerate(drawn)]  # type: ignore[arg-type]  # drawn as the fields are
    parts: dict[object, list[Made]] = {}
    for one, made in zip(drawn, calls, strict=True):
        parts.setdefault(one[0], []).append(made)
    nodes = [
        decode(encode(bounded(snapshot_of(part, f"n{name}"), with_arguments=False)))
        for name, part in parts.items()
    ]
    one_node = merge([bounded(snapshot_of(calls), with_arguments=False)] if calls else [])
    together = merge(nodes)
    assert _answers(merge(reversed(nodes))) == _answers(together)
    of_all, of_one = _answers(together), _answers(one_node)
    assert of_all == of_one
    assert_books_balance(plain(together.stats()))


def test_what_is_merged_stays_as_it_was() -> None:
    """The same snapshots may be merged again, in other company."""
    nodes = [snapshot_of([Made(1, "a", 5, None, "ValueError", "f")], name) for name in "xy"]
    before = [encode(node) for node in nodes]
    merge(nodes), merge(nodes)
    assert [encode(node) for node in nodes] == before


def test_errors_say_where() -> None:
    """A group of errors says how many of them each node had, by fingerprint and by class."""
    nodes = [
        snapshot_of(
            [Made(1, "a", 5, None, "ValueError", "f"), Made(2, "b", 5, None, "KeyError")], "x"
        ),
        snapshot_of([Made(1, "a", 5, None, "ValueError", "f")], "y"),
    ]
    found = {group.err: group.nodes for group in merge(nodes).errors()}
    assert found == {"ValueError": {"x": 1, "y": 1}, "KeyError": {"x": 1}}


def test_slow_calls_say_where() -> None:
    """Of the slowest calls of all nodes each says on which it ran."""
    nodes = [snapshot_of([Made(1, "a", 10)], "x"), snapshot_of([Made(1, "a", 20)], "y")]
    found = merge(nodes).slowest(5, "a")
    assert [(call.node, call.duration_s) for call in found] == [("y", 2e-8), ("x", 1e-8)]


def test_parameters_stay_at_home() -> None:
    """Without `arguments` no parameter and no metadata leaves the node; the error does."""
    made = snapshot_of(
        [Made(1, "a", 5, None, "ValueError", "f"), Made(2, "a", 6, None, "KeyError")]
    )
    without, with_them = (bounded(made, with_arguments=flag) for flag in (False, True))
    assert b"query" not in msgspec.msgpack.encode(without)
    assert b"it broke" in msgspec.msgpack.encode(without)
    assert b"query" in msgspec.msgpack.encode(with_them)


def test_very_many_tools_are_summed() -> None:
    """Beyond the bound the least called tools are one, and the books balance."""
    calls = [Made(number, f"tool {number % 6000}", 5) for number in range(1, 9001)]
    found = bounded(snapshot_of(calls), with_arguments=False)
    assert len(found.figures.totals) == 5000
    assert len(found.slowest) == 1000
    stats = plain(merge([found]).stats())
    assert stats["tool_stats"][OTHER]["count"] == stats["tool_stats"][OTHER]["current_size"] > 1000
    assert_books_balance(stats)


def test_each_tool_has_its_slowest() -> None:
    """A tool of few and quick calls has a place among the slowest, too."""
    calls = [Made(number, f"slow {number % 200}", 10**9 + number) for number in range(1, 4001)]
    found = bounded(snapshot_of([*calls, Made(5000, "quick", 1)]), with_arguments=False)
    assert "quick" in {one.call.tool for one in found.slowest}
    assert found.slowest[0].call.duration_ns == 10**9 + 4000


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no zstd",
        CODECS[0].compressor()(b"no msgpack"),
        CODECS[0].compressor()(msgspec.msgpack.encode({"version": VERSION})),
        CODECS[0].compressor()(bytes(65 << 20)),
    ],
)
def test_what_is_no_snapshot_is_refused(content: bytes) -> None:
    """Anything else is a FormatError, also what would unpack to very much."""
    with pytest.raises(FormatError):
        decode(content)


def test_another_version_is_refused() -> None:
    """What would be misread is refused with both versions."""
    made = snapshot_of([])
    made.version = VERSION + 1
    with pytest.raises(FormatError, match=rf"found .* version {VERSION + 1}, expected {VERSION}"):
        decode(encode(made))


def test_further_fields_are_passed_over() -> None:
    """A newer node may say more."""
    raw = msgspec.msgpack.decode(
        msgspec.msgpack.encode(snapshot_of([Made(1, "a", 5)])), strict=False
    )
    raw["weather"] = "fine"
    content = CODECS[0].compressor()(msgspec.msgpack.encode(raw))
    assert decode(content).figures.totals["a"].count == 1


@pytest.mark.parametrize(
    "figures",
    [
        Figures(totals={"a": Totals(count=-1)}),
        Figures(totals={"a": Totals(count=1, histogram={0: -1})}),
        Figures(books=Books(begun=-5)),
        Figures(books=Books(opened={"a": -1})),
    ],
)
def test_figures_that_no_node_can_have_are_refused(figures: Figures) -> None:
    """A negative count would take away from what others counted."""
    with pytest.raises(FormatError, match="no node can have"):
        decode(encode(Snapshot(node=Node(name="a", origin=ORIGIN), figures=figures)))
