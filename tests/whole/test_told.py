"""What is told of a program's calls is true, and its secrets stay its own: as outsiders look."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support import Place, outputs, wait_until

# Few enough that most of the program's calls leave the newest.
FEW = "default_perf_points: 10\n"


@pytest.fixture
def seen(place: Place) -> tuple[int, dict[str, Any]]:
    """How often objects were shown, and statistics by tool, of a program that ran here."""
    place.write("config/tool_perf_limits.yaml", FEW)
    reprs, by_tool, told = json.loads(place.run_program("told/calls_of_each_kind"))
    assert told == []
    return reprs, by_tool


def test_slow_lists_what_left_the_newest(seen: tuple[int, dict[str, Any]], place: Place) -> None:
    """The slowest call is the one of which the statistics have the maximum."""
    _, by_tool = seen
    assert by_tool["waits"]["count"] == 151
    slowest = place.ask("slow")[0]
    assert slowest["tool"] == "waits"
    assert slowest["duration_s"] == by_tool["waits"]["max_duration_s"] >= 0.2


def test_errors_count_all_and_an_exit_is_none(
    seen: tuple[int, dict[str, Any]], place: Place
) -> None:
    """Failed calls are counted whether or not they are kept; ``SystemExit(0)`` has not failed."""
    _, by_tool = seen
    assert (by_tool["fails"]["errors"], by_tool["leaves"]["errors"]) == (22, 0)
    assert by_tool["leaves"]["count"] == 1
    assert [(one["tool"], one["count"]) for one in place.ask("errors")] == [("fails", 22)]


def test_large_parameters_are_not_shown_whole(seen: tuple[int, dict[str, Any]]) -> None:
    """Of a deque of 20,000 objects a few are asked what they look like."""
    reprs, _ = seen
    assert 0 < reprs < 200


def test_secrets_in_objects_and_values_reach_no_file(
    seen: tuple[int, dict[str, Any]], place: Place
) -> None:
    """Names in other spellings, fields of dataclasses, and what looks like a key are masked."""
    assert len(place.lines("given")) == seen[1]["given"]["count"] == 2
    files = [path for path in place.storage.rglob("*") if path.is_file()]
    assert files
    assert [path.name for path in files if b"hunter" in path.read_bytes()] == []


def test_losses_are_told_once_by_cause_with_what_to_do(place: Place) -> None:
    """A program whose calls nobody drains hears of it in one line, however many there are."""
    place.write("config/tool_perf_limits.yaml", "ring: {budget_bytes: 1048576}\n")
    told = json.loads(place.run_program("told/losses", SHMPERF_SESSION="nobody-drains"))
    (line,) = [line for line in told if "lost" in line]
    assert "ring_full" in line
    assert "shmperf collect" in line


def test_a_list_of_children_that_is_cut_says_so(place: Place) -> None:
    """Of a thousand calls inside one all are named; of one more not, and the line tells."""
    place.write("config/tool_perf_limits.yaml", "optimization: {enabled: true}\n")
    place.run_program("told/many_children")
    whole, cut = (line["data"] for line in place.lines("outer"))
    assert [len(line["child_tools"]) for line in (whole, cut)] == [1_000, 1_000]
    assert [line["children"]["inner"]["count"] for line in (whole, cut)] == [1_000, 1_001]
    assert [line.get("truncated", False) for line in (whole, cut)] == [False, True]


def test_an_answer_about_one_tool_says_that_it_may_be_short(place: Place) -> None:
    """In a session that nobody collects, after the five seconds that an answer may take."""
    found = json.loads(place.run_program("told/one_tool", SHMPERF_SESSION="nobody-collects"))
    assert (found["tool"], found["count"], found["complete"]) == ("tool", 0, False)


def test_a_configuration_file_that_is_deleted_is_told(place: Place) -> None:
    """Its settings stay and `status` says so, until it is there again and holds."""
    file = place.write("config/tool_perf_limits.yaml", FEW)
    program = place.start_program("commands/stays_open")
    assert program.stdout is not None
    assert program.stdout.readline() == "open\n"

    def told() -> str:
        found: str = place.ask("status")["told"].get("config", "")
        return found

    def limit() -> int:
        found: int = place.ask("stats", "done")["max_size"]
        return found

    place.collector_pid()
    file.unlink()
    line = wait_until(told, "the loss to be told")
    assert f"{file.name}: found no such file" in line
    assert limit() == 10
    place.write("config/tool_perf_limits.yaml", "default_perf_points: 20\n")
    wait_until(lambda: not told(), "the line to go")
    assert limit() == 20
    outputs(program)


def test_a_program_without_logging_is_told_by_what_that_would_do(place: Place) -> None:
    """The line alone on standard error, if there is one; once there is logging, by its logger."""
    out = place.run_program("errors/tells_without_logging")
    assert out == "a line\nlogged: shmperf: another\n"
