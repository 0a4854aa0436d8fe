"""Real programs in real processes, from the first tracked call to the files on disk."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path

import pytest

from tests.support import Place, assert_books_balance, outputs, program_text, wait_until

POOLS = program_text("end_to_end/pools")
TASKS = 3 * 50 + 100 + 10 + 100 + 4 * 50
LEAVES = TASKS * 2


def assert_all_there(place: Place, *arguments: str) -> None:
    stats = place.stats(*arguments)
    counts = {name: row["count"] for name, row in stats["tool_stats"].items()}
    assert counts == {"task": TASKS, "leaf": LEAVES}
    assert stats["lost"] == {}
    assert stats["aborted"] == stats["in_flight"] == 0
    assert stats["faults"] == {}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_embedded_session_records_every_call_of_every_process(place: Place, method: str) -> None:
    """A program that only decorates its tools finds every call of all its processes recorded."""
    place.run_program("end_to_end/pools", method)
    assert_all_there(place)
    place.wait_for_end()
    assert_all_there(place)
    assert len(place.lines("leaf")) == 100


def test_the_default_way_to_start_processes_joins_the_session(place: Place) -> None:
    """Pools for which nobody names a method record into their parent's session, on any Python."""
    place.run_program("end_to_end/pools_by_default")
    place.wait_for_end()
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"task": 82, "leaf": 82}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_run_records_every_call_of_the_command(place: Place, method: str) -> None:
    """``run`` records a command's calls, in whichever way it starts its processes."""
    path = place.write("pools.py", POOLS)
    place.shmperf("run", "--storage", "out", "--", "python", str(path), method, PATH=_path())
    assert_all_there(place, "--storage", "out")
    place.wait_for_end()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_daemon_collects_for_workers_beside_it(place: Place, method: str) -> None:
    """A collector beside workers drains those that name its session, and ends at SIGTERM."""
    daemon = place.start_module("collect", "--session", "beside", "--storage", "out")
    place.collector_pid("--session", "beside")
    place.run_program("end_to_end/pools", method, SHMPERF_SESSION="beside")
    assert_all_there(place, "--session", "beside")
    daemon.terminate()
    place.finish(daemon)
    assert_all_there(place, "--storage", "out")
    assert len(place.lines("leaf", place.cwd / "out")) == 100


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_calls_whose_numbers_could_not_be_drawn_keep_their_parents(
    place: Place, method: str
) -> None:
    """A storage that could not be written when workers began gave them numbers at random."""
    # Where others count what was drawn is a directory: nobody can write into that, not even root.
    (place.cwd / "perf_data" / ".shmperf" / "blocks").mkdir(parents=True, mode=0o700)
    (place.cwd / "perf_data" / ".shmperf").chmod(0o700)
    place.run_program("end_to_end/pools", method)
    assert_all_there(place)
    place.wait_for_end()
    assert_all_there(place)
    leaves = [line["data"] for line in place.lines("leaf")]
    assert len(leaves) == 100
    assert all(leaf["parent"] for leaf in leaves)
    edges = {(edge["parent"], edge["tool"]): edge["calls"] for edge in place.ask("tree")}
    assert edges == {(None, "task"): TASKS, ("task", "leaf"): LEAVES}


def test_worker_may_start_before_its_named_collector(place: Place) -> None:
    """What a worker records before its collector comes is found by the collector."""
    program = place.start_program(
        "end_to_end/worker_may_start_before_its",
        SHMPERF_SESSION="late",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    daemon = place.start_module("collect", "--session", "late", "--storage", "out")
    place.collector_pid("--session", "late")
    assert place.stats("--session", "late")["tool_stats"]["early"]["count"] == 10
    outputs(program, "\n")
    daemon.terminate()
    place.finish(daemon)
    assert place.stats("--storage", "out")["total_calls"] == 10


def test_pool_whose_parent_never_calls_a_tool_is_one_session(place: Place) -> None:
    """Workers of a pool find one session by themselves."""
    place.run_program("end_to_end/pool_whose_parent_never_calls")
    assert place.stats()["total_calls"] == 64


def test_two_programs_founding_at_once_share_one_session(place: Place) -> None:
    """Programs that start together on one storage record into one session."""
    name = "end_to_end/programs_founding_at_once_share"
    programs = [place.start_program(name) for _ in range(4)]
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    names = {program.stdout.readline() for program in programs if program.stdout is not None}
    for program in programs:
        outputs(program, "\n")
    assert len(names) == 1
    assert place.stats()["total_calls"] == 400


def test_killed_worker_shows_its_open_calls_as_aborted(place: Place) -> None:
    """kill -9 in mid-call: every open call, nested too, is aborted; nothing else is missing."""
    program = place.start_program("end_to_end/killed_worker_shows_its_open")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    assert {row["tool"] for row in place.ask("inflight")} == {"outer", "inner", "block"}
    program.kill()
    outputs(program)
    stats = wait_until(lambda: (s := place.stats())["aborted"] == 3 and s, "the burial")
    assert stats["tool_stats"]["done"]["count"] == 1000
    assert stats["begun"] == 1003
    assert stats["lost"] == {}
    place.wait_for_end()
    (line,) = place.lines("inner")
    assert line["data"]["status"] == "aborted"
    assert line["data"]["e"] is line["data"]["d"] is None
    assert line["data"]["parent"] == place.lines("outer")[0]["data"]["id"]


def test_killed_worker_shows_its_mode(place: Place) -> None:
    """A call that was aborted in optimization mode has that mode's line, with its children."""
    place.write("config/tool_perf_limits.yaml", "optimization: {enabled: true}\n")
    program = place.start_program("end_to_end/killed_worker_shows_its_open")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    program.kill()
    outputs(program)
    wait_until(lambda: place.stats()["aborted"] == 3, "the burial")
    place.wait_for_end()
    for tool in ("outer", "inner", "block"):
        (line,) = place.lines(tool)
        found = line["data"]
        assert (found["status"], found["params"], found["duration_ms"]) == ("aborted", {}, None)
        assert found["child_tools"] == []


def test_a_killed_call_names_what_had_ended_inside_it(place: Place) -> None:
    """An aborted call's line in optimization mode has the children that were not aborted."""
    place.write("config/tool_perf_limits.yaml", "optimization: {enabled: true}\n")
    program = place.start_program("commands/stays_open")
    assert program.stdout is not None
    assert program.stdout.readline() == "open\n"
    wait_until(lambda: place.stats()["total_calls"] == 1, "the call inside")
    program.kill()
    outputs(program)
    place.wait_for_end()
    (inside,), (line,) = place.lines("done"), place.lines("waiting")
    assert line["data"]["status"] == "aborted"
    assert line["data"]["child_tools"] == [inside["data"]["id"]]
    assert inside["data"]["parent_tool"] == line["data"]["id"]


def test_killed_collector_costs_no_line_and_doubles_none(place: Place) -> None:
    """kill -9 of the collector, several times in the middle: each call is on disk exactly once."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {kept: -1}\n")
    program = place.start_program("end_to_end/killed_collector_costs_no_line")
    assert program.stdout is not None
    assert program.stdin is not None
    expected: list[str] = []
    for turn in range(60):
        expected += program.stdout.readline().split()
        if turn % 12 == 5:
            os.kill(place.collector_pid(), signal.SIGKILL)
        program.stdin.write("\n")
        program.stdin.flush()
    outputs(program)
    stats = place.stats()
    place.wait_for_end()
    assert stats["tool_stats"]["kept"]["count"] == 6000
    found = place.ids("kept")
    assert set(found) == set(expected)
    assert set(found.values()) == {1}


def test_fork_in_mid_call_leaves_the_call_to_the_parent(place: Place) -> None:
    """A tool that forks: both go on, the call counts once, and the child's calls are its own."""
    place.run_program("end_to_end/fork_mid_call_leaves_call")
    stats = place.stats()
    counts = {name: row["count"] for name, row in stats["tool_stats"].items()}
    assert counts == {"forks": 1, "leaf": 5, "outside": 1}
    assert stats["aborted"] == 0


def test_fork_in_the_middle_of_another_thread_s_first_call(place: Place) -> None:
    """The child waits for no lock of a thread that it has not, and keeps none of its parent's."""
    place.run_program("end_to_end/fork_middle_another_thread_s")
    stats = place.stats()
    assert stats["total_calls"] + sum(stats["lost"].values()) == 2, stats


def test_forks_beside_a_first_call_crash_nobody(place: Place) -> None:
    """What a first call makes once is made on import: no child of a fork meets half of it."""
    made = 0
    for _ in range(12):
        # Warnings aside, which say that forks beside threads are a risk: this is the risk.
        out = place.run_program("end_to_end/forks_beside_first_calls", PYTHONWARNINGS="ignore")
        made += int(out)
    stats = place.stats()
    assert_books_balance(stats)
    assert stats["begun"] == made


def test_no_segment_is_left_and_history_is_compacted(place: Place) -> None:
    """After the last worker the memory is gone and a file holds exactly the newest of its limit."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {few: 3}\n")
    place.run_program("end_to_end/no_segment_left_history_compacted")
    place.wait_for_end()
    assert [line["data"]["p"] for line in place.lines("few")] == [
        '{"n":997}',
        '{"n":998}',
        '{"n":999}',
    ]
    assert place.stats()["tool_stats"]["few"]["current_size"] == 3


def test_tracking_off_costs_no_session(place: Place) -> None:
    """With tracking off nothing is founded, started or written, and statistics are zeros."""
    out = place.run_program(
        "end_to_end/tracking_off_costs_no_session",
        OPTIMIZED_PERF_TRACKER_ENABLED="No",
    )
    assert out == "off 0 True\n"
    assert not place.storage.exists()
    assert place.sessions() == []


def test_mode_switch_is_seen_by_the_next_call_of_every_process(place: Place) -> None:
    """Optimization mode, switched in one process, records the next call of another in full."""
    place.run_program("end_to_end/mode_switch_seen_by_next")
    place.wait_for_end()
    plain, full = (line["data"] for line in place.lines("tool"))
    assert plain["p"] == '{"n":0,"password":"***","deep":{"a":[1,2]}}'
    assert full["params"] == {"n": 1, "password": "***", "deep": {"a": [1, 2]}}
    assert full["metadata"] == {"seen": 1}
    assert full["memory_mb"] > 1
    assert full["cpu_percent"] is not None


def test_cleanup_forgets_what_had_ended_and_no_more(place: Place) -> None:
    """Cleanup empties statistics and files; a call open meanwhile counts when it ends."""
    place.run_program("end_to_end/cleanup_forgets_what_had_ended")
    stats = place.stats()
    assert {name: row["count"] for name, row in stats["tool_stats"].items()} == {
        "open": 1,
        "tool": 1,
    }
    place.wait_for_end()
    assert len(place.lines("tool")) == 1


def test_changed_limits_are_taken_up_while_running(place: Place) -> None:
    """An edited limit of 0 stops recording at once for running workers; a broken edit is told."""
    config = place.write("config/tool_perf_limits.yaml", "default_perf_points: 10\n")
    program = place.start_program("end_to_end/changed_limits_taken_up_while")
    assert program.stdin is not None
    assert program.stdout is not None

    def five_calls() -> int:
        program.stdin.write("go\n")
        program.stdin.flush()
        program.stdout.readline()
        return place.stats()["begun"]

    assert five_calls() == 5
    config.write_text("default_perf_points: nonsense\n")
    wait_until(lambda: "config" in place.ask("status")["told"], "the broken edit to be told")
    assert five_calls() == 10
    config.write_text("default_perf_points: 0\n")
    wait_until(lambda: (before := place.stats()["begun"]) == five_calls() == before, "the edit")
    outputs(program, "end\n")


def test_statistics_survive_sessions(place: Place) -> None:
    """Totals go on where the last session of a storage left them."""
    for expected in (10, 20, 30):
        place.run_program("end_to_end/ten_calls")
        assert place.stats()["total_calls"] == expected
        place.wait_for_end()
        assert place.stats()["total_calls"] == expected


def _path() -> str:
    return f"{Path(sys.executable).parent}:{os.environ['PATH']}"


def test_a_session_removed_by_hand_ends_with_its_workers(place: Place) -> None:
    """Its collector keeps what they did, says why it ends, and stays for nobody."""
    collector = place.start_module("collect", "--session", "lost")
    place.shmperf("status", "--session", "lost", "--wait")
    name = "end_to_end/session_removed_by_hand_ends"
    program = place.start_program(name, SHMPERF_SESSION="lost")
    assert program.stdout is not None
    assert program.stdin is not None
    assert program.stdout.readline() == "ready\n"
    wait_until(lambda: place.stats("--session", "lost")["total_calls"] == 1, "the first call")
    (directory,) = place.sessions()
    shutil.rmtree(directory)
    program.stdin.write("x")
    program.stdin.close()
    program.stdin = None
    place.finish(program)
    place.finish(collector, code=1)
    assert "has gone" in collector.error_text  # type: ignore[attr-defined]  # set there
    stats = place.stats()
    assert stats["total_calls"] == 2, stats
