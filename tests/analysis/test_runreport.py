"""A run's report from what was seen: own times, who called whom, changes, bounds, odd names."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.analysis.optimization import (
    MOST_WINDOWS,
    Optimization,
    OptimizationDelta,
    OptimizationState,
    Run,
    Sighting,
    hash_of,
)
from shmperf.analysis.reporttext import markdown
from shmperf.analysis.runreport import Report, Setting, report_of
from shmperf.shm.record import Outcome

KEY = b"k" * 16
MS = 1_000_000


def seen_of(*calls: Sighting) -> Optimization:
    """An analysis that has seen *calls* in a run."""
    found = Optimization()
    found.begin(Run("manual", "s", 0.0, 0, most_calls=1_000, seconds=60.0, ended_ns=10**9))
    for call in calls:
        found.add(call, int(call.status == Outcome.ERROR))
    found.take_delta()
    return found


def reported(*calls: Sighting, before: Report | None = None) -> Report:
    """The report of *calls*."""
    found = seen_of(*calls)
    assert found.run is not None
    report = report_of(found.run, found, Setting(), None if before is None else ("old", before))
    # What is written is strict JSON, and reads as it was.
    return msgspec.json.decode(json.dumps(json.loads(msgspec.json.encode(report))), type=Report)


def call(tool: str, id: int, start: int, duration: int, parent: int = 0, **more: int) -> Sighting:
    return Sighting(tool, id, parent, 1, start * MS, duration * MS, **{"status": 0, **more})


def test_own_time_is_without_the_union_of_the_children() -> None:
    """Children that overlap, that outlast their parent, or whose parent was not seen."""
    report = reported(
        call("parent", 1, 0, 100),
        call("child", 2, 10, 30, parent=1),
        call("child", 3, 20, 30, parent=1),
        call("child", 4, 90, 50, parent=1),
        call("stray", 5, 0, 5, parent=99),
    )
    own = {tool: round(row.own_s * 1_000) for tool, row in report.tools.items()}
    assert own == {"child": 110, "parent": 50, "stray": 5}
    assert list(report.tools) == ["child", "parent", "stray"], "the most first"
    assert sum(row.own_share for row in report.tools.values()) == pytest.approx(1)
    assert [(edge.parent, edge.tool, edge.calls) for edge in report.edges] == [
        ("parent", "child", 3),
        (None, "parent", 1),
    ]


def test_changes_are_against_the_report_before() -> None:
    """As a share of what was; None for a tool that was not there, or had no call that ended."""
    before = reported(call("a", 1, 0, 10), call("gone", 2, 0, 10), call("b", 3, 0, 10))
    before.tools["b"] = msgspec.structs.replace(before.tools["b"], count=0, p50_ms=None)
    report = reported(
        call("a", 4, 0, 15),
        call("a", 5, 0, 15, status=int(Outcome.ERROR)),
        call("b", 6, 0, 10),
        call("new", 7, 0, 10),
        before=before,
    )
    assert report.previous == "old"
    change = report.tools["a"].change
    assert change is not None
    assert (change.p50, change.error_rate) == (pytest.approx(0.5, abs=0.05), 0.5)
    assert report.tools["new"].change is None
    assert report.tools["b"].change is not None
    assert (report.tools["b"].change.p50, report.tools["b"].change.error_rate) == (None, None)
    assert [(row.tool, row.status, row.count) for row in report.errors] == [("a", "error", 1)]


def test_reports_can_be_compared() -> None:
    """A tool's row says how its durations were spread, so a comparison knows how sure it is."""
    row = reported(*(call("a", n, 0, n) for n in range(1, 21))).tools["a"]
    assert row.histogram is not None
    assert sum(row.histogram.values()) == row.count == 20
    assert (row.min_ms, row.max_ms) == (1, 20)


def test_nothing_seen_is_said() -> None:
    """A report of no call is a report."""
    report = reported()
    assert (report.calls, report.tools, report.slowest) == (0, {}, [])
    assert "no call began and ended in the 1.0 s" in report.note
    assert report.note in markdown(report)


@given(st.text(max_size=50), st.text(max_size=50))
def test_markdown_holds_any_name(tool: str, params: str) -> None:
    """Tables stay tables: no name ends a cell, a line or a code span, and nothing is sent."""
    seen = Sighting(tool, 1, 0, 1, 0, MS, 0, params=params)
    found = seen_of(seen)
    assert found.run is not None
    text = markdown(report_of(found.run, found, Setting(), None))
    assert all(one.isprintable() or one == "\n" for one in text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {len(line.replace("\\|", "").split("|")) for line in rows} <= {12, 6, 7}


def test_a_tool_without_a_name_has_a_row_that_says_so() -> None:
    """An empty cell would be taken for a mistake of the table's."""
    found = seen_of(Sighting("", 1, 0, 1, 0, MS, 0))
    assert found.run is not None
    text = markdown(report_of(found.run, found, Setting(), None))
    assert text.count("| `(no name)` |") >= 3


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text("abc"), PLAIN), st.dictionaries(st.text("abc"), PLAIN))
def test_equal_hashes_are_equal_parameters(
    first: dict[str, object], second: dict[str, object]
) -> None:
    """In whatever order they were named, and only then: numbers of any size stay apart."""
    one, other = json.dumps(first), json.dumps(dict(reversed(second.items())))
    same = json.dumps(first, sort_keys=True) == json.dumps(second, sort_keys=True)
    assert (hash_of(one, KEY) == hash_of(other, KEY)) is same


def test_hashes_tell_nothing_that_they_do_not_know() -> None:
    """None where something is masked; another key gives others; any text has one."""
    assert hash_of('{"a": "***"}', KEY) is None
    assert hash_of('{"a": 18446744073709551617}', KEY) != hash_of(
        '{"a": 18446744073709551618}', KEY
    )
    assert hash_of('{"a": 1}', KEY) != hash_of('{"a": 1}', b"other")
    for odd in ("", "{", "[" * 10_000, '{"a": "\\ud800"}'):
        assert len(hash_of(odd, KEY) or "") == 32


def test_windows_are_bounded_and_hide_never_less() -> None:
    """What began in any run that nobody asked for stays private, however many there were."""
    found = Optimization()
    for number in range(0, 3 * MOST_WINDOWS * 100, 100):
        found.open_window(number * MS)
        found.close_window((number + 10) * MS, is_switched=True)
    assert len(found.marks.windows) == MOST_WINDOWS
    starts = [number * MS for number in range(0, 3 * MOST_WINDOWS * 100, 100)]
    assert all(found.is_private(start + 5 * MS) for start in starts)
    assert not found.is_private(starts[-1] + 50 * MS)
    assert not found.is_private(starts[-2] + 50 * MS)


@given(st.lists(st.sampled_from(["add", "take", "end", "begin", "clear", "abort"]), max_size=30))
def test_deltas_lead_to_the_same_state(steps: list[str]) -> None:
    """Whoever applies every delta, or restores a state, knows what the live one knows."""
    live, copy = Optimization(), Optimization()
    for number, step in enumerate([*steps, "take"], 1):
        if step == "add":
            live.add(call("a", number, number, 1), 0)
        elif step == "abort":
            live.add_aborted("a")
        elif step == "begin":
            live.begin(Run("manual", "s", float(number), number, most_calls=9, seconds=1.0))
        elif step in {"end", "clear"}:
            delta = live.take_delta()
            if delta is not None:
                copy.apply(_through(delta))
            getattr(live, step)()
            if step == "clear":
                copy.clear()
        else:
            delta = live.take_delta()
            if delta is not None:
                copy.apply(_through(delta))
    assert copy.state() == live.state()
    content = msgspec.msgpack.encode(live.state())
    again = Optimization.restore(msgspec.msgpack.decode(content, type=OptimizationState))
    assert again.state() == live.state()


def _through(delta: OptimizationDelta) -> OptimizationDelta:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=OptimizationDelta)
