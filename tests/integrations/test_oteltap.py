"""A receiver made for tests tells what it was sent, a line of JSON for each span and metric."""

from __future__ import annotations

import json
import socket
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import PYTHON, Place, missing, program_text, wait_until

from .receivers import COUNTERPARTS, free_port

PROGRAM = COUNTERPARTS / "receivers" / "bin" / "oteltap"
if not PROGRAM.exists():
    missing("SHMPERF_COUNTERPARTS names no directory that .ci/counterparts has filled")


class Tap(NamedTuple):
    """Where it listens, and what it writes."""

    port: int
    path: Path

    def is_up(self) -> bool:
        """It takes connections."""
        with socket.socket() as found:
            return found.connect_ex(("127.0.0.1", self.port)) == 0

    def lines(self, key: str) -> list[dict[str, Any]]:
        """The whole lines that have *key*."""
        lines = self.path.read_text().splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n") and line[0] == "{"]
        return [one for one in found if key in one]


@pytest.fixture
def tap(place: Place) -> Tap:
    """One that listens; it is killed with the test's place."""
    found = Tap(free_port(), place.write("tap.ndjson", ""))
    place.start("sh", "-c", f"exec {PROGRAM} --port {found.port} > {found.path}")
    wait_until(found.is_up, "oteltap to listen")
    return found


def counts_in(points: list[dict[str, Any]], key: str) -> dict[str, int]:
    """Calls by tool; failures are points of their own."""
    found: Counter[str] = Counter()
    for point in points:
        tools = [one for one in point["attributes"] if one["key"] == "gen_ai.tool.name"]
        found[tools[0]["value"]["stringValue"]] += int(point[key])
    return dict(found)


def test_calls_are_spans_and_counts(place: Place, tap: Tap) -> None:
    """Under `shmperf run --otlp URL`: each call a span, once; counts as sum and histogram."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    place.write("searches.py", program_text("export/searches"))
    url = f"http://127.0.0.1:{tap.port}"
    program = place.start_module("run", "--otlp", url, "--", PYTHON, "searches.py")
    assert program.stdin is not None
    program.stdin.write("20\n")
    place.finish(program)
    calls = {"search": 20, "fetch": 40}
    assert {name: one["count"] for name, one in place.stats()["tool_stats"].items()} == calls

    def counts(name: str, kind: str, key: str) -> dict[str, int]:
        found = [line[kind]["dataPoints"] for line in tap.lines("unit") if line["name"] == name]
        return counts_in(found[-1], key) if found else {}

    wait_until(lambda: counts("shmperf.calls", "sum", "asInt") == calls, "the last counts")
    name = "gen_ai.execute_tool.duration"
    assert counts(name, "exponentialHistogram", "count") == calls
    wait_until(lambda: len(tap.lines("spanId")) >= 60, "the spans")
    spans = Counter((span["name"], span["spanId"]) for span in tap.lines("spanId"))
    ids = {(f"execute_tool {tool}", one) for tool in calls for one in place.ids(tool)}
    assert spans == Counter(ids)
