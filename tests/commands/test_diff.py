"""The command that compares: storages, files of statistics, conditions, exit codes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from shmperf.testing import Room
from tests.support import Place

TOOLS = 20
CALLS = 400

Recorded = Callable[[str, float], Path]


@pytest.fixture
def recorded(tmp_path: Path, runtime: Path) -> Recorded:
    """Records a run: twenty tools, the eighth of which is so many times slower."""

    def record(name: str, slowness: float) -> Path:
        cwd = tmp_path / name
        cwd.mkdir()
        room = Room(cwd, runtime)
        worker = room.worker(slots=512)
        rng = random.Random(name)  # noqa: S311  no secret
        for number in range(TOOLS):
            for _ in range(CALLS):
                call = worker.begin(f"tool {number}")
                scale = slowness if number == 7 else 1.0
                room.pass_ns(int(1e6 * scale * rng.lognormvariate(0, 0.05)))
                worker.end(call)
            room.turn()
        room.finish()
        room.close()
        return room.storage

    return record


def said(place: Place, *arguments: str, code: int = 0) -> tuple[str, str]:
    program = place.start_module("diff", *arguments)
    out = place.finish(program, code=code)
    return out, str(program.error_text)  # type: ignore[attr-defined]  # kept by the place


def test_a_fifth_slower_fails_for_that_tool_alone(place: Place, recorded: Recorded) -> None:
    """Exit 3 and the one tool, from directories and from what `stats --json` printed of them."""
    a, b = recorded("a", 1.0), recorded("b", 1.2)
    arguments = ("--fail-if", "p50>+10%", "--json")
    found = json.loads(said(place, str(a), str(b), *arguments, code=3)[0])
    assert [one["tool"] for one in found["failed"]] == ["tool 7"]
    verdicts = {tool: one["verdict"] for tool, one in found["tools"].items()}
    assert [tool for tool, verdict in verdicts.items() if verdict == "slower"] == ["tool 7"]
    assert list(verdicts.values()).count("same") == TOOLS - 1
    change = found["tools"]["tool 7"]["change"]["p50"]
    assert 1.1 < change["low"] < change["ratio"] < change["high"] < 1.3
    for name, storage in (("a.json", a), ("b.json", b)):
        place.write(name, place.shmperf("stats", "--json", "--storage", str(storage)))
    again = json.loads(said(place, "a.json", "b.json", *arguments, code=3)[0])
    assert again == found
    assert (
        json.loads(said(place, "a.json", "--storage", str(b), "--json")[0])["tools"]
        == (found["tools"])
    )


def test_what_got_slower_is_read_first(place: Place, recorded: Recorded) -> None:
    """A headline, the slower tool, all others behind it, and what the words mean."""
    a, b = recorded("a", 1.0), recorded("b", 1.2)
    out = said(place, str(a), str(b))[0]
    lines = [line for line in out.splitlines() if line.strip()]
    assert lines[0].strip() == "20 tools: 1 slower, 19 same"
    assert lines[3].split()[:3] == ["tool", "7", "slower"]
    assert "95 % interval" in lines[-1]
    one = said(place, str(a), str(b), "--tool", "tool 7", "--fail-if", "p50>+1%", code=3)[0]
    assert "1 tool: 1 slower" in one
    assert "failed: tool 7: p50 +" in one


def test_a_condition_on_nobody_is_told(place: Place, recorded: Recorded) -> None:
    """It breaks nothing, and is most likely a typo."""
    a = recorded("a", 1.0)
    err = said(place, str(a), str(a), "--fail-if", "tol 7:p50>+1%")[1]
    assert err == "shmperf: no tool was called on both sides of 'tol 7:p50>+1%'\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "neither"),
        ("[1, 2]", "neither"),
        ("{}", "neither 'tool_stats'"),
        ('{"tool_stats": {"a": {"count": -1}}}', ">= 0"),
        ('{"tool_stats": {"a": {"count": 1, "histogram": {"100000": 1}}}}', "<= 530"),
        ('{"tool_stats": {"a": {"count": 1, "p50_s": 1e999}}}', "neither"),
        ('{"schema": 9, "tools": {}}', "found schema 9, expected 1"),
        ("[" * 100_000, "neither"),
    ],
    ids=range(8),
)
def test_a_file_that_is_not_ours_is_refused(place: Place, text: str, expected: str) -> None:
    """One line that names the file, and exit 1."""
    place.write("a.json", text)
    err = said(place, "a.json", "a.json", code=1)[1]
    assert err.startswith("shmperf: a.json: ")
    assert expected in err
    assert err.count("\n") == 1


def test_wrong_use_is_told(place: Place, recorded: Recorded) -> None:
    """What is missing exits 1 and names what is near; a condition that can't be read exits 2."""
    a = str(recorded("a", 1.0))
    assert "nothing was recorded there" in said(place, a + "x", a, code=1)[1]
    assert "did you mean 'tool 7'?" in said(place, a, a, "--tool", "tol 7", code=1)[1]
    assert "expected [TOOL:]FIELD" in said(place, a, a, "--fail-if", "slow", code=2)[1]
    assert "B is given twice" in said(place, a, a, "--storage", a, code=1)[1]


def test_reports_are_compared(place: Place) -> None:
    """A report of the optimization cycle is a source; without histograms nothing is sure."""

    def report(p50_ms: float, **more: Any) -> str:
        row = {"count": 100, "p50_ms": p50_ms, "p95_ms": 9.0, "errors": 0, "aborted": 0, **more}
        return json.dumps({"schema": 1, "tools": {"t": row}})

    place.write("a.json", report(1.0))
    place.write("b.json", report(2.0))
    one = json.loads(said(place, "a.json", "b.json", "--json")[0])["tools"]["t"]
    assert one["change"]["p50"] == {"ratio": 2.0, "low": None, "high": None}
    assert one["verdict"] == "unsure"
    # Edited by somebody: more failed than there were.
    place.write("c.json", report(1.0, errors=1_000, histogram={"-160": 5_000}))
    odd = json.loads(said(place, "c.json", "b.json", "--json")[0])["tools"]["t"]
    assert (odd["a"]["errors"], odd["a"]["error_rate"], odd["verdict"]) == (100, 1.0, "unsure")
    place.write("a.json", report(1.0, histogram={"-160": 100}))
    place.write("b.json", report(2.0, histogram={"-144": 100}))
    one = json.loads(said(place, "a.json", "b.json", "--json")[0])["tools"]["t"]
    assert one["verdict"] == "slower"


def test_times_within_one_storage_are_compared(place: Place, recorded: Recorded) -> None:
    """From the intervals, split at the last @; a time without calls, or without an end, is told."""
    b = recorded("b@home", 1.2)
    day = f"{b}@2023-11-14..2023-11-15"
    whole = json.loads(said(place, str(b), day, "--json")[0])["tools"]["tool 7"]
    assert whole["a"] == whole["b"]
    assert whole["a"]["calls"] == CALLS
    for span, expected in (
        ("-2h..-1h", "no calls in that time"),
        ("..2023-11-14T00:00:00Z", "no calls in that time"),
        ("-1h..-2h", "ends before it begins"),
        ("-1h", "found no '..'"),
        ("soon..", "expected an ISO time"),
    ):
        assert expected in said(place, str(b), f"{b}@{span}", code=1)[1]
    assert "nothing was recorded there" in said(place, str(b), "nowhere@-1h..", code=1)[1]
