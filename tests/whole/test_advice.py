"""Advice on real programs: each has something to be told, and something beside it that is right."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import Place, program_text

LIMITS = "tool_limits: {archived: -1, roomy: 900, busy: 10}\n"


def told(place: Place, kind: str) -> tuple[dict[str, Any], list[dict[str, Any]], float]:
    """The report of the program of that *kind*, its advice of it, and the program's own figure."""
    place.write("rig.py", program_text("advice/rig"))
    found = json.loads(place.run_program(f"advice/{kind}"))
    report = found["report"]
    assert report["ended_by"] == "mode"
    return report, [row for row in report["advice"] if row["kind"] == kind], found["saves_s"]


@pytest.mark.parametrize(
    ("kind", "tool"),
    [
        ("cache", "search"),
        ("batch", "read"),
        ("parallel", "plan"),
        ("flaky", "fetch"),
        ("hotspot", "read"),
        ("wait", "crowded"),
    ],
)
def test_what_following_it_would_save(place: Place, kind: str, tool: str) -> None:
    """The one tool that it is right for is named, with what the program knows itself."""
    report, advice, saves_s = told(place, kind)
    assert [row["tool"].rpartition(".")[2] for row in advice] == [tool], report["advice"]
    assert advice[0]["saves_s"] == pytest.approx(saves_s, rel=0.15)
    text = place.shmperf("optimize", "--last")
    assert advice[0]["text"] in text
    assert text.index("## What to do") < text.index("## Tools")


def test_the_repeated_call_is_the_first_advice(place: Place) -> None:
    """Over all processes; one cache in each would save less, and both are said."""
    report, (piece,), _ = told(place, "cache")
    assert report["advice"][0] == piece
    assert (piece["evidence"]["repeats"], piece["evidence"]["distinct"]) == (117, 3)
    assert piece["evidence"]["processes"] == 2
    assert piece["evidence"]["saves_in_each_process_s"] < piece["saves_s"]


def test_a_call_that_hangs(place: Place) -> None:
    """A time-out beyond what all others take; slow calls that belong to a tool are left alone."""
    _, advice, longest_s = told(place, "timeout")
    assert [row["tool"] for row in advice] == ["fetch"]
    (piece,) = advice
    bound_s = piece["evidence"]["timeout_ms"] / 1e3
    assert piece["evidence"]["longest_ms"] / 1e3 == pytest.approx(longest_s, rel=0.05)
    assert piece["saves_s"] == pytest.approx(longest_s - bound_s, rel=0.05)


def test_memory_that_is_kept(place: Place) -> None:
    """A quarter of a megabyte a call, and no word on the tool that gives it back."""
    _, advice, kept_mb = told(place, "memory")
    assert [row["tool"] for row in advice] == ["leak"]
    assert advice[0]["evidence"]["grown_mb"] == pytest.approx(kept_mb, rel=0.15)
    assert advice[0]["saves_s"] is None


def test_a_limit_that_is_turned_over(place: Place) -> None:
    """The tool whose records are the shortest part of the run."""
    place.write("config/tool_perf_limits.yaml", LIMITS)
    _, advice, _ = told(place, "limit")
    assert [row["tool"] for row in advice] == ["busy"]
    assert advice[0]["evidence"]["limit"] == 10
    assert advice[0]["evidence"]["suggested"] > 10


def test_recording_what_is_shorter_than_its_record(place: Place) -> None:
    """Sampled is what is tiny and called often."""
    _, advice, all_s = told(place, "sample")
    assert [row["tool"] for row in advice] == ["tiny"]
    assert 0.8 * all_s < advice[0]["saves_s"] < all_s


def test_sampled_already(place: Place) -> None:
    """Nobody is told to do what is done."""
    place.write("config/tool_perf_limits.yaml", "sampling: {tools: {tiny: 10}}\n")
    assert told(place, "sample")[1] == []
