"""Files for trace viewers: what is drawn is what was called, whatever the names are."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec
import pytest

from shmperf.exporters import chrome, folded, speedscope
from shmperf.exporters.table import EXPORTERS, exporter_of
from shmperf.storage.kept import KeptCall

from .test_lanes import call

ODD_NAME = 'a "b";c\n<script>&\0\u2028' + "x" * 10_000


def family() -> list[KeptCall]:
    """A parent in one worker, two children at once, one in another worker, one that was killed."""
    return [
        call("gather", 0, 100),
        call("task.1", 10, 50, "gather"),
        call("task.2", 20, 50, "gather"),
        call("remote", 30, 20, "gather", pid=8),
        call("killed", 40, None, "gather", pid=8),
    ]


def text_of(chunks: Iterable[bytes]) -> str:
    return b"".join(chunks).decode()


def events_of(*calls: KeptCall) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text_of(chrome.export(calls)))["traceEvents"]
    return found


def test_chrome_draws_each_call_once() -> None:
    """Complete events in lanes, asynchronous ones for what overlaps, an open end where none was."""
    events = events_of(*family())
    drawn = {event["name"]: event for event in events if event["ph"] in "Xb"}
    assert {name: event["ph"] for name, event in drawn.items()} == {
        "gather": "X",
        "task": "b",
        "remote": "X",
        "killed": "b",
    }
    assert [event["name"] for event in events if event["ph"] == "e"] == ["task"]
    assert [event["args"]["id"] for event in events if event["name"] == "task" and "args" in event]
    assert drawn["gather"]["dur"] == 100
    assert drawn["remote"]["ts"] == pytest.approx(30, abs=0.5)


def test_chrome_leads_from_a_parent_to_its_child_in_another_worker() -> None:
    """An arrow out of the parent's lane into the child's, at the child's begin."""
    flows = [event for event in events_of(*family()) if event["ph"] in "sf"]
    assert [(flow["ph"], flow["pid"], flow["id"]) for flow in flows] == [
        ("s", 7, "remote"),
        ("f", 8, "remote"),
    ]


def test_chrome_counts_what_is_open() -> None:
    """Each worker's counter ends where it began, but for what never ended."""
    counted = [event for event in events_of(*family()) if event["ph"] == "C"]
    last = {event["pid"]: event["args"]["open"] for event in counted}
    assert last == {7: 0, 8: 1}


def test_folded_stacks_have_own_time() -> None:
    """From the root down; a call that never ended has no time, those below it have theirs."""
    lines = text_of(folded.export([*family(), call("below", 50, 7, "killed", pid=8)])).splitlines()
    stacks = dict(line.rsplit(" ", 1) for line in lines)
    assert stacks == {
        "gather": "40",
        "gather;task": "100",
        "gather;remote": "20",
        "gather;killed;below": "7",
    }


def test_speedscope_has_a_profile_for_each_lane() -> None:
    """Frames that open and close, nested and in order, and an end for what never ended."""
    found = json.loads(text_of(speedscope.export(family())))
    names = [frame["name"] for frame in found["shared"]["frames"]]
    assert names == ["gather", "task", "remote", "killed (never ended)"]
    assert [profile["name"] for profile in found["profiles"]] == [
        "worker 7, lane 0",
        "worker 7, overlapping calls 0",
        "worker 8, lane 0",
        "worker 8, lane 1",
    ]
    for profile in found["profiles"]:
        stack: list[int] = []
        for event in profile["events"]:
            if event["type"] == "O":
                stack.append(event["frame"])
            else:
                assert stack.pop() == event["frame"]
        assert not stack
        times = [event["at"] for event in profile["events"]]
        assert times == sorted(times)
        assert profile["endValue"] == times[-1]


def test_speedscope_writes_long_lanes_in_blocks() -> None:
    """Lanes of more events than are held in memory come back whole."""
    calls = [call(f"tool.{n}", 10 * n, 5) for n in range(3_000)]
    calls += [call(f"other.{n}", 10 * n, 5, pid=8) for n in range(3_000)]
    found = json.loads(text_of(speedscope.export(calls)))
    assert [len(profile["events"]) for profile in found["profiles"]] == [6_000, 6_000]


@pytest.mark.parametrize("exporter", [row.name for row in EXPORTERS if row.is_text])
def test_no_call_at_all_is_a_valid_file(exporter: str) -> None:
    """Nothing was kept: JSON that parses, text without lines."""
    text = text_of(exporter_of(exporter)([]))
    if exporter in ("chrome", "speedscope"):
        json.loads(text)
    else:
        assert text.count("\n") <= 1


@pytest.mark.parametrize("exporter", ["chrome", "speedscope"])
def test_any_name_comes_back(exporter: str) -> None:
    """Quotes, semicolons, line ends, NUL and ten thousand characters are text and nothing else."""
    calls = [msgspec.structs.replace(call("x", 0, 10), tool=name) for name in (ODD_NAME, "")]
    found = json.loads(text_of(exporter_of(exporter)(calls)))
    if exporter == "chrome":
        names = {event["name"] for event in found["traceEvents"] if event["ph"] == "X"}
    else:
        names = {frame["name"] for frame in found["shared"]["frames"]}
    assert ODD_NAME in names


def test_a_folded_line_has_one_stack_and_one_number() -> None:
    """What parts tools and lines in the format never comes from a name."""
    odd = msgspec.structs.replace(call("x", 0, 10), tool="a;b c\nd 7\n")
    (line,) = text_of(folded.export([odd])).splitlines()
    assert line == "a:b_c_d_7_ 10"


def test_calls_without_end_take_bounded_chunks() -> None:
    """The first chunk comes long before the last call."""
    calls = [call(f"tool.{n}", n, 1) for n in range(20_000)]
    assert max(map(len, chrome.export(calls))) < 1 << 17
