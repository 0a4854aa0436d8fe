"""Calls of sampled tools: every one is counted, some are recorded, and no edge is made up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from itertools import pairwise

import msgspec
import pytest

from shmperf.session.settings import Settings
from shmperf.worker.sampler import Sampler
from tests.support import DEADLINE_S, Place, outputs, wait_until

TENTH = "default_perf_points: -1\nsampling: {every: 10}\n"
NEVER = "default_perf_points: -1\nsampling: {every: 1000000}\n"


def edges(place: Place) -> set[tuple[str, str]]:
    """Whose parent is whose in the history."""
    names = [path.name for path in place.storage.glob("*_perf.jsonl")]
    lines = [line["data"] for n in names for line in place.lines(n.removesuffix("_perf.jsonl"))]
    tools = {line["id"]: line["t"] for line in lines}
    return {(tools[line["parent"]], line["t"]) for line in lines if line.get("parent")}


@pytest.mark.parametrize("config", [TENTH, NEVER])
def test_every_kind_of_call_counts_exactly(place: Place, config: str) -> None:
    """Whatever is called, `count` and `errors` are those of a program that records everything."""
    place.write("config/tool_perf_limits.yaml", config)
    made, failed = json.loads(place.run_program("sampling/every_kind"))
    stats = place.stats()
    found = {tool: row["count"] for tool, row in stats["tool_stats"].items()}
    assert found == made
    assert {t: row["errors"] for t, row in stats["tool_stats"].items() if row["errors"]} == failed
    assert stats["begun"] == stats["total_calls"] == sum(made.values())
    place.wait_for_end()
    for tool, row in stats["tool_stats"].items():
        lines = place.lines(tool)
        assert row["sampled_out"] + len(lines) == row["count"]
        assert row["sampled_out"] > row["count"] // 2
        assert row["estimated"] is True
        # Failed calls are all there.
        assert sum("status" in line["data"] for line in lines) == row["errors"]


def test_children_of_calls_without_a_record_have_no_parent(place: Place) -> None:
    """No edge that never was: not from the caller's caller either."""
    place.write("config/tool_perf_limits.yaml", TENTH)
    place.run_program("sampling/every_kind")
    place.wait_for_end()
    callers = ("plain", "coroutine", "generator", "block", "pair")
    assert edges(place) <= {(caller, "leaf") for caller in callers}


def test_threads_count_exactly(place: Place) -> None:
    """Threads that are switched all the time count each call once, and records are some of them."""
    place.write("config/tool_perf_limits.yaml", TENTH)
    made = int(place.run_program("sampling/threads"))
    stats = place.stats()
    assert {row["count"] for row in stats["tool_stats"].values()} == {made}
    place.wait_for_end()
    assert edges(place) == {("tool", "leaf")}


def test_processes_count_exactly(place: Place) -> None:
    """Forks and spawned processes each count their own calls; a call that forks counts once."""
    place.write("config/tool_perf_limits.yaml", TENTH)
    made = json.loads(place.run_program("sampling/processes"))
    stats = place.stats()
    assert {tool: row["count"] for tool, row in stats["tool_stats"].items()} == made
    assert stats["aborted"] == 0


@pytest.mark.parametrize("config", [TENTH, NEVER])
def test_killed_worker_leaves_exactly_the_calls_that_had_ended(place: Place, config: str) -> None:
    """kill -9: what had ended counts, and a call that was open is aborted only with a record."""
    place.write("config/tool_perf_limits.yaml", config)
    program = place.start_program("sampling/killed")
    assert program.stdout is not None
    assert program.stdout.readline() == "20000\n"
    program.kill()
    outputs(program)
    wait_until(lambda: place.stats()["workers"] == 0, "the burial")
    stats = place.stats()
    hangs = stats["tool_stats"]["hangs"]
    assert stats["tool_stats"]["tool"]["count"] == 20_001
    assert hangs["count"] == 20_000
    assert hangs["aborted"] <= (config == TENTH)
    assert stats["in_flight"] == 0


def test_collectors_that_are_killed_count_nothing_twice(place: Place) -> None:
    """Each of several collectors goes on where the last one's journal ends."""
    place.write("config/tool_perf_limits.yaml", TENTH)
    program = place.start_program("sampling/settings_change")
    for turn in range(1, 4):
        wait_for_turn(program)
        assert place.stats()["tool_stats"]["tool"]["count"] == 2_000 * turn
        os.kill(place.collector_pid(), signal.SIGKILL)
        begin_turn(program)
    outputs(program)
    stats = place.stats()
    assert {row["count"] for row in stats["tool_stats"].values()} == {6_000}


def test_edited_settings_hold_from_the_next_call(place: Place) -> None:
    """Some are recorded, then all, then none: the worker follows, and every call counts."""
    place.write("config/tool_perf_limits.yaml", TENTH)
    program = place.start_program("sampling/settings_change")
    left_out = [0]
    for turn, every in enumerate((1, 1_000_000, 10), 1):
        wait_for_turn(program)
        stats = place.stats()["tool_stats"]
        assert {row["count"] for row in stats.values()} == {2_000 * turn}
        left_out.append(stats["tool"]["sampled_out"])
        text = f"default_perf_points: -1\nsampling: {{every: {every}}}\n"
        place.write("config/tool_perf_limits.yaml", text)
        wait_until(lambda every=every: told_every(place) == every, "the settings")
        begin_turn(program)
    outputs(program)
    tenth, none, nearly_all = (now - then for then, now in pairwise(left_out))
    assert 1_500 < tenth < 2_000
    assert none == 0
    # Slow ones are recorded all the same, and on a busy machine there are many.
    assert nearly_all > 500


def told_every(place: Place) -> int:
    """What workers are told of the tool."""
    (session,) = place.sessions()
    settings = msgspec.msgpack.decode((session / "settings").read_bytes(), type=Settings)
    return settings.sampling_of("tool").every


def wait_for_turn(program: subprocess.Popen[str]) -> None:
    """Until the program has made its calls."""
    assert program.stdout is not None
    assert program.stdout.readline() == "done\n"


def begin_turn(program: subprocess.Popen[str]) -> None:
    """Let it go on."""
    assert program.stdin is not None
    program.stdin.write("\n")
    program.stdin.flush()


def test_gaps_have_the_mean_that_was_asked_for() -> None:
    """One of N on average, at no fixed distance: a program that alternates is met at both turns."""
    sampler = Sampler("tool")
    counts = memoryview(bytearray(16)).cast("Q")
    sampler.count_in(counts, 1, seed=7)
    sampler.open(1, counts, every=10, slow_ns=0)
    chosen = [n for n in range(100_000) if not sampler.passes()]
    assert 9_500 < len(chosen) < 10_500
    assert 0.48 < sum(n % 2 for n in chosen) / len(chosen) < 0.52
    gaps = {later - earlier for earlier, later in pairwise(chosen)}
    assert gaps == set(range(1, 20))


def test_slow_calls_are_kept(place: Place) -> None:
    """Once it is known what is slow, every such call has a record with its times."""
    config = "default_perf_points: -1\nsampling: {every: 10}\n"
    place.write("config/tool_perf_limits.yaml", config)
    made = int(place.run_program("sampling/slow_calls", str(DEADLINE_S / 2)))
    stats = place.stats()
    place.wait_for_end()
    for tool in ("plain", "coroutine", "block"):
        durations = [line["data"]["d"] for line in place.lines(tool)]
        assert sum(duration > 0.04 for duration in durations) >= made, tool
        row = stats["tool_stats"][tool]
        assert row["sampled_out"] + len(durations) == row["count"]
        # They stand for themselves: nine of ten calls are none of them.
        assert row["p50_s"] < 0.04 < row["max_duration_s"]


def test_what_is_sampled_is_said_where_people_look(place: Place) -> None:
    """`status` while it runs, `stats` and `doctor` at any time."""
    place.write("config/tool_perf_limits.yaml", TENTH)
    program = place.start_program("sampling/settings_change")
    wait_for_turn(program)
    status = place.ask("status")["sampling"]["tool"]
    assert status["every"] == 10
    assert status["reason"].startswith("as sampling.every says")
    assert "sampled    tool: 1 of 10; as sampling.every says" in place.shmperf("status")
    assert "durations of such a tool are estimates" in place.shmperf("stats").replace("\n", " ")
    checks = {row["check"]: row for row in place.ask("doctor")}
    assert "calls counted without a record" in checks["sampling"]["found"]
    for _ in range(3):
        begin_turn(program)
    outputs(program)
