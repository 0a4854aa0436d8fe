"""Each line of the history says which root its call belongs to, in whichever process it ran."""

from __future__ import annotations

import csv
import io
import signal
from typing import Any

from tests.support import Place


def _data(place: Place, *tools: str) -> list[dict[str, Any]]:
    return [line["data"] for tool in tools for line in place.lines(tool)]


def test_every_call_below_a_root_names_it(place: Place) -> None:
    """Nested calls name the outermost; it names none: its own id is the trace's."""
    place.run_program("trace/every_call_below_root_names")
    place.wait_for_end()
    tops = {found["id"] for found in _data(place, "top")}
    assert len(tops) == 20
    assert all("trace" not in found for found in _data(place, "top"))
    below = [found for found in _data(place, "middle", "leaf") if "parent" in found]
    assert {found["trace"] for found in below} == tops
    assert len(below) == 60
    parents = {found["id"]: found for found in _data(place, "top", "middle")}
    for found in _data(place, "leaf"):
        if "parent" in found:
            assert found["trace"] == parents[found["parent"]]["trace"]


def test_a_trace_goes_through_processes(place: Place) -> None:
    """Tasks of a pool belong to the trace of the call that handed them over."""
    place.run_program("trace/trace_goes_through_processes")
    place.wait_for_end()
    (root,) = _data(place, "outermost")
    inner = _data(place, "inner")
    assert len(inner) == 8
    assert {found["trace"] for found in inner} == {root["id"]}


def test_open_calls_of_a_killed_worker_name_their_root(place: Place) -> None:
    """What was running when its process died belongs to the trace that it was in."""
    program = place.start_program("trace/open_calls_killed_worker_name")
    assert program.stdout is not None
    assert program.stdout.readline() == "there\n"
    program.send_signal(signal.SIGKILL)
    program.wait()
    place.wait_for_end()
    (outer,) = _data(place, "outer")
    (inner,) = _data(place, "inner")
    assert inner["status"] == "aborted"
    assert inner["trace"] == outer["id"]


def test_exports_name_a_trace_for_every_call(place: Place) -> None:
    """A root's trace is its own id, so that rows can be grouped by it."""
    place.run_program("trace/three_roots")
    place.wait_for_end()
    rows = list(csv.DictReader(io.StringIO(place.shmperf("export", "csv"))))
    roots = {row["id"] for row in rows if row["tool"] == "outer"}
    assert len(roots) == 3
    assert {row["trace"] for row in rows if row["tool"] == "inner"} == roots
    assert all(row["trace"] == row["id"] for row in rows if row["tool"] == "outer")
