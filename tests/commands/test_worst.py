"""``slow`` and ``errors`` never miss the worst: a collector runs, was killed, or is gone."""

from __future__ import annotations

import json
import os
import signal
from typing import Any

from tests.support import Place, outputs

LIMIT = "default_perf_points: 20\n"


def told(place: Place) -> tuple[list[Any], list[Any]]:
    """What both commands say."""
    return place.ask("slow", "outer", "--limit", "3"), place.ask("errors")


def check(place: Place) -> None:
    slow, groups = told(place)
    longest = place.ask("stats", "outer")["max_duration_s"]
    assert slow[0]["params"] == '{"n":3}'
    assert slow[0]["duration_s"] == longest > 0.05
    (group,) = groups
    assert (group["tool"], group["err"], group["count"], group["calls"]) == (
        "bad",
        "KeyError",
        50,
        50,
    )
    assert (group["sample"], group["sample_of"]) == ('{"n":490}', "parameters")
    assert slow[0]["id"] not in {line["data"]["id"] for line in place.lines("outer")}


def test_the_worst_are_told_live_after_a_kill_and_from_disk(place: Place) -> None:
    """The same each time: the slowest call of all, and every failed one, though 20 are kept."""
    place.write("config/tool_perf_limits.yaml", LIMIT)
    program = place.start_program("commands/worst", "wait")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    check(place)
    live = told(place)
    os.kill(place.collector_pid(), signal.SIGKILL)
    check(place)
    assert told(place) == live
    out, err = outputs(program, "\n")
    assert (program.returncode, out) == (0, ""), err
    place.wait_for_end()
    check(place)
    assert "called with" in place.shmperf("errors")


def test_the_file_of_exemplars_is_there_when_a_program_has_flushed(place: Place) -> None:
    """A line of history with what lay below; private, and gone after a cleanup."""
    place.write("config/tool_perf_limits.yaml", LIMIT)
    place.run_program("commands/worst")
    place.wait_for_end()
    path = place.storage / "exemplars.jsonl"
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    (worst,) = [one for one in lines if one["tool"] == "outer" and one["data"]["d"] > 0.05]
    assert worst["kinds"] == ["slow"]
    assert worst["timestamp"].endswith("+00:00")
    assert [row["tool"] for row in worst["subtree"]] == ["inner", "inner"]
    assert {row["parent"] for row in worst["subtree"]} == {worst["data"]["id"]}
    assert "truncated" not in worst
    failed = [one for one in lines if one["tool"] == "bad" and "failed" in one["kinds"]]
    assert sorted(one["data"]["p"] for one in failed) == [
        f'{{"n":{number}}}' for number in range(400, 500, 10)
    ]
    assert path.stat().st_mode & 0o777 == 0o600
    place.shmperf("cleanup")
    assert not path.exists()
    assert place.ask("slow") == place.ask("errors") == []
