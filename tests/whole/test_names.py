"""Thousands of tools: each is there, on disk when the program ends, and what is odd is told."""

from __future__ import annotations

import json

import pytest

from shmperf.storage.history import file_name
from tests.support import PYTHON, Place, assert_books_balance

TOOLS = 3_000


@pytest.mark.parametrize("processes", [1, 4])
def test_every_tool_of_thousands_is_on_disk_when_the_program_has_ended(
    place: Place, processes: int
) -> None:
    """No name is lost, and each has its file, however many there are in a process."""
    program = place.start_program("names/many", str(TOOLS), str(processes))
    place.finish(program)
    files = {path.name for path in place.storage.glob("*.jsonl")}
    assert {file_name(f"job {n}") for n in range(TOOLS)} <= files
    stats = place.stats()
    assert_books_balance(stats)
    assert stats["total_calls"] == stats["tools_tracked"] == stats["begun"] == TOOLS
    assert stats["lost"] == {}
    assert all(row["current_size"] == 1 for row in stats["tool_stats"].values())
    (found,) = stats["varying"]
    assert (found["pattern"], found["tools"]) == ("job *", TOOLS)
    if processes == 1:
        told = program.error_text  # type: ignore[attr-defined]  # set by finish
        assert told.count("tools are named 'job *'") == 1
    assert "are named 'job *'" in place.shmperf("stats")
    checks = json.loads(place.shmperf("doctor", "--json"))
    (row,) = [check for check in checks if check["check"] == "names"]
    assert "one tool 'job' with a parameter" in row["found"]


def test_run_waits_for_the_files_of_many_tools(place: Place) -> None:
    """The collector of a command ends when all is written."""
    place.shmperf("run", "--", PYTHON, "-c", MANY, str(TOOLS))
    assert len(list(place.storage.glob("*.jsonl"))) == TOOLS


MANY = """
import sys, shmperf
for n in range(int(sys.argv[1])):
    with shmperf.call(f"job {n}"):
        pass
"""
