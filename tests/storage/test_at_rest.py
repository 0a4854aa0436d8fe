"""What a storage says to a reader whose configuration is another one than that of its collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shmperf.config.options import Options
from shmperf.storage.history import FileState
from shmperf.storage.state import Ledger, Limits, State, load, stats_on_disk
from shmperf.testing import Room

CONFIG = "tool_limits: {all: -1, few: 3}\n"
OTHERS = [
    Options(default_perf_points=0),
    Options(default_perf_points=1),
    Options(tool_limits={"all": 2}),
]


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    found = Room(tmp_path, runtime, CONFIG)
    yield found
    found.close()


def sizes(room: Room, options: Options) -> dict[str, tuple[int, int]]:
    tools: dict[str, Any] = stats_on_disk(room.storage, None, options)["tool_stats"]
    return {tool: (row["current_size"], row["max_size"]) for tool, row in tools.items()}


@pytest.mark.parametrize("ends_well", [False, True])
def test_sizes_are_those_on_disk_whoever_reads(room: Room, ends_well: bool) -> None:
    """By the limits that were in force there, in files and in the journal alike."""
    worker = room.worker(slots=64)
    for _ in range(10):
        worker.call("all")
        worker.call("few")
    room.turn(2)
    room.collector.commit()
    if ends_well:
        room.finish()
        assert (len(room.lines("all")), len(room.lines("few"))) == (10, 3)
    for options in OTHERS:
        assert sizes(room, options) == {"all": (10, -1), "few": (3, 3)}


def test_limits_that_change_are_those_that_hold_now(room: Room) -> None:
    """A tool that keeps fewer from now on has fewer."""
    worker = room.worker(slots=64)
    for _ in range(10):
        worker.call("few")
    room.turn(2)
    room.collector.configure(Options(tool_limits={"few": 2}))
    room.collector.parts.configure(Options(tool_limits={"few": 2}))
    worker.call("few")
    room.turn(2)
    assert load(room.storage, Options())[0].state.limits == Limits(100, {"few": 2})
    assert sizes(room, Options()) == {"few": (2, 2)}


def test_without_limits_in_the_journal_what_is_in_files_counts() -> None:
    """Of a storage that an older version has written nobody knows what was in force."""
    ledger = Ledger(Options(default_perf_points=1), is_read=True)
    ledger.state = State(files={"t": FileState("t_perf.jsonl", 1, 500, 5)})
    assert ledger.current_size("t") == 5
    assert Ledger(Options(default_perf_points=1)).limit_of("t") == ledger.limit_of("t") == 1
