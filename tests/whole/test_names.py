"""Thousands of tools: each is there, on disk when the program ends, and what is odd is told."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from shmperf.storage.history import file_name
from tests.support import PYTHON, Place, assert_books_balance, outputs, wait_until

TOOLS = 3_000
# Ten times what a disk writes in the second after which it is taken for one that is stuck.
MANY_TOOLS = 10_000


@pytest.mark.parametrize("processes", [1, 4])
def test_every_tool_of_thousands_is_on_disk_when_the_program_has_ended(
    place: Place, processes: int
) -> None:
    """No name is lost, and each has its file, however many there are in a process."""
    program = place.start_program("names/many", str(TOOLS), str(processes))
    place.finish(program)
    files = {path.name for path in place.storage.glob("*_perf.jsonl")}
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
    shown = place.shmperf("stats")
    assert "are named 'job *'" in shown
    assert {f"job {n}" for n in range(TOOLS)} <= {
        line.strip().split("  ")[0] for line in shown.split("\n")
    }
    checks = json.loads(place.shmperf("doctor", "--json"))
    (row,) = [check for check in checks if check["check"] == "names"]
    assert "one tool 'job' with a parameter" in row["found"]


def test_run_waits_for_the_files_of_many_tools(place: Place) -> None:
    """The collector of a command ends when all is written."""
    place.shmperf("run", "--", PYTHON, "-c", MANY, str(TOOLS))
    assert len(list(place.storage.glob("*_perf.jsonl"))) == TOOLS


def test_a_call_of_every_tool_has_room_before_anybody_drains(place: Place) -> None:
    """Thousands of names wait in memory for a collector that comes late."""
    place.run_program("names/many", str(TOOLS), "1", SHMPERF_SESSION="late")
    daemon = place.start_module("collect", "--session", "late", "--storage", "out")
    place.collector_pid("--session", "late")
    daemon.terminate()
    place.finish(daemon)
    stats = place.stats("--storage", "out")
    assert (stats["total_calls"], stats["tools_tracked"], stats["lost"]) == (TOOLS, TOOLS, {})
    assert len(list((place.cwd / "out").glob("*_perf.jsonl"))) == TOOLS


def test_a_killed_collector_of_many_tools_leaves_nothing_in_flight(place: Place) -> None:
    """kill -9 in the middle of their files: the next one writes the rest, and no call twice."""
    program = place.start_program("names/many", str(TOOLS), "4", "and waits")
    wait_until(lambda: list(place.storage.glob("*_perf.jsonl")), "the first files")
    os.kill(place.collector_pid(), signal.SIGKILL)
    outputs(program, "\n")
    place.wait_for_end()
    stats = place.stats()
    assert (stats["begun"], stats["in_flight"]) == (TOOLS, 0)
    assert stats["total_calls"] + sum(stats["lost"].values()) == TOOLS
    paths = list(place.storage.glob("*_perf.jsonl"))
    assert len(paths) == stats["total_calls"]
    assert all(path.read_bytes().count(b"\n") == 1 for path in paths)


@pytest.mark.parametrize("kills", [False, True], ids=["left alone", "killed"])
def test_thousands_of_tools_are_written_to_a_slow_disk(place: Place, kills: bool) -> None:
    """However long their files take together, nothing is claimed that is not there in the end."""
    make_slow(place.storage)
    program = place.start_program("names/many", str(MANY_TOOLS), "8", "and waits")
    wait_until(lambda: list(place.storage.glob("*_perf.jsonl")), "the first files")
    if kills:
        os.kill(place.collector_pid(), signal.SIGKILL)
    outputs(program, "\n")
    place.wait_for_end()
    stats = place.stats()
    assert (stats["begun"], stats["in_flight"], stats["lost"]) == (MANY_TOOLS, 0, {})
    claimed = {file_name(name) for name, row in stats["tool_stats"].items() if row["current_size"]}
    paths = list(place.storage.glob("*_perf.jsonl"))
    assert len(claimed) == stats["total_calls"] == MANY_TOOLS
    assert claimed == {path.name for path in paths if path.read_bytes().count(b"\n") == 1}


def make_slow(storage: Path) -> None:
    """A directory in which every file waits for the disk, where its file system can do that."""
    storage.mkdir(mode=0o700)
    if (chattr := shutil.which("chattr")) is not None:
        subprocess.run([chattr, "+SD", str(storage)], capture_output=True, check=False)


def test_a_process_has_a_bounded_number_of_tools(place: Place) -> None:
    """Beyond that all names that have no limit of their own are one tool."""
    place.run_program("names/unbounded")


MANY = """
import sys, shmperf
for n in range(int(sys.argv[1])):
    with shmperf.call(f"job {n}"):
        pass
"""
