"""The drop-in module: what code written for one process finds, and what holds across processes."""

from __future__ import annotations

import json

from tests.support import Place, assert_books_balance, outputs

IMPORTS = """
import copy, json, os, sys, threading, time
import shmperf
from shmperf import optimized_perf_tracker as module
from shmperf.optimized_perf_tracker import *

def call(tool, count=1, **params):
    for n in range(count):
        end_tool_call(track_tool_call(tool, {"n": n, **params}))

def refused(assign):
    try:
        assign()
    except shmperf.errors.ConfigError as error:
        return str(error)
    raise AssertionError("it was taken")
"""


def run(place: Place, text: str, *arguments: str, **environ: str) -> str:
    """Run a program that has everything of the module at hand; its output."""
    return place.run_script(IMPORTS + text, *arguments, **environ)


def test_code_for_a_single_process_runs_unchanged(place: Place) -> None:
    """Names, arguments and results, as a test suite of the single-process module uses them."""
    run(
        place,
        """
assert TrackingMode.NORMAL.value == "normal" and TrackingMode.OPTIMIZATION.value == "optimization"
assert OptimizedPerfTracker() is OptimizedPerfTracker() is get_tracker()

def fresh():
    OptimizedPerfTracker._instance = None
    return OptimizedPerfTracker()

tracker = fresh()
tracker.set_optimization_mode(False)
record_id = tracker.start_tracking("test_tool", {"param": "value"})
assert len(record_id) == 16
time.sleep(0.01)
tracker.end_tracking(record_id)
stats = tracker.get_tool_stats("test_tool")
assert stats["count"] == 1 and 0.01 < stats["avg_duration_s"] < 1
assert stats["min_duration_s"] == stats["max_duration_s"] == stats["avg_duration_s"]
tracker.shutdown()

tracker = fresh()
tracker.set_optimization_mode(True)
assert tracker.is_optimization_mode() and tracker.mode == TrackingMode.OPTIMIZATION
parent = tracker.start_tracking("parent_tool", {})
child = tracker.start_tracking(tool_name="child_tool", params={})
tracker.end_tracking(child)
tracker.end_tracking(record_id=parent, error="it failed")
assert tracker.get_tool_stats("parent_tool")["errors"] == 1
assert tracker.get_tool_stats("child_tool")["count"] == 1
assert tracker.get_tool_stats("test_tool") == {
    **tracker.get_tool_stats("nobody"), "tool": "test_tool"
}
found = tracker.get_all_stats()
assert (found["total_calls"], found["tools_tracked"], found["mode"]) == (2, 2, "optimization")
assert set(found["tool_stats"]) == {"parent_tool", "child_tool"}
set_optimization_mode(False)
assert not tracker.is_optimization_mode()
tracker.end_tracking("")
tracker.end_tracking("no such id")
tracker.shutdown()

tracker = fresh()
tracker.config["tool_limits"] = {"test_tool": 2}
tracker.config["default_perf_points"] = 2
for i in range(3):
    tracker.end_tracking(tracker.start_tracking("test_tool", {"iteration": i}))
stats = tracker.get_tool_stats("test_tool")
assert (stats["count"], stats["current_size"], stats["max_size"]) == (3, 2, 2), stats
tracker.cleanup_old_data()
assert tracker.get_tool_stats("test_tool")["count"] == 0
call("test_tool")
assert get_perf_stats("test_tool")["count"] == 1
assert get_perf_stats(tool_name="test_tool")["tool"] == "test_tool"
assert get_perf_stats()["total_calls"] == 1
cleanup_perf_data()
assert get_perf_stats()["total_calls"] == 0
assert "default_perf_points" in tracker.config
""",
    )
    assert place.lines("parent_tool") == []


def test_a_fresh_tracker_counts_from_zero(place: Place) -> None:
    """Whatever was counted before in this session or an earlier one; the session keeps it all."""
    text = """
call("tool", 5)
tracker = OptimizedPerfTracker()
assert tracker.get_all_stats()["total_calls"] == 0
assert tracker.get_tool_stats("tool")["count"] == 0
opened = track_tool_call("open", {})
call("tool", 2)
call("other", 150)
found = tracker.get_all_stats()
counts = {name: row["count"] for name, row in found["tool_stats"].items()}
assert counts == {"tool": 2, "other": 150}, counts
assert found["tool_stats"]["tool"]["current_size"] == 2
assert found["tool_stats"]["other"]["current_size"] == 100
assert found["tool_stats"]["tool"]["errors"] == 0
assert (found["begun"], found["in_flight"], found["total_calls"]) == (153, 1, 152), found

# Calls that were open then belong to the next one.
tracker.shutdown()
assert OptimizedPerfTracker._instance is None
second = OptimizedPerfTracker()
assert second is not tracker
end_tool_call(opened, "late")
found = second.get_all_stats()
assert (found["begun"], found["in_flight"], found["total_calls"]) == (1, 0, 1), found
row = found["tool_stats"]["open"]
assert row["errors"] == 1 and row["min_duration_s"] == row["max_duration_s"] > 0
print(json.dumps(found))
assert shmperf.get_perf_stats("tool")["count"] == 7 + int(sys.argv[1])
"""
    for before in ("0", "7"):
        assert_books_balance(json.loads(run(place, text, before)))
        place.wait_for_end()
    assert place.stats()["total_calls"] == 2 * (7 + 150 + 1)


def test_least_and_greatest_are_of_the_trackers_own_calls(place: Place) -> None:
    """Within a bucket's width where older calls were shorter and longer."""
    run(
        place,
        """
def tool(seconds):
    started = track_tool_call("tool", {})
    time.sleep(seconds)
    end_tool_call(started)

tool(0), tool(0.2)
tracker = OptimizedPerfTracker()
tool(0.02), tool(0.04)
row = tracker.get_tool_stats("tool")
assert row["count"] == 2
assert 0.019 < row["min_duration_s"] <= row["p50_s"] <= row["avg_duration_s"], row
assert row["avg_duration_s"] <= row["p99_s"] <= row["max_duration_s"] < 0.2, row
tool(0.3)
assert tracker.get_tool_stats("tool")["max_duration_s"] == (
    shmperf.get_perf_stats("tool")["max_duration_s"]
)
""",
    )


def test_a_cleanup_by_another_process_is_no_debt(place: Place) -> None:
    """What it took away is not subtracted from what came later."""
    run(
        place,
        """
import subprocess
call("tool", 50)
tracker = OptimizedPerfTracker()
call("tool", 3)
assert tracker.get_tool_stats("tool")["count"] == 3
subprocess.run([sys.executable, "-m", "shmperf", "cleanup"], check=True, stdout=subprocess.DEVNULL)
assert tracker.get_tool_stats("tool")["count"] == 0
call("tool", 4)
assert tracker.get_tool_stats("tool")["count"] == 4
assert tracker.get_all_stats()["begun"] == 4
""",
    )


def test_statistics_are_of_all_processes(place: Place) -> None:
    """Forked, spawned and forkserver workers; each finds its own calls at once."""
    text = """
import multiprocessing

def work(count):
    call("work", count)
    return get_perf_stats("work")["count"] >= count

if __name__ == "__main__":
    if sys.argv[1] == "own":
        OptimizedPerfTracker()
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert all(pool.map(work, [10, 20, 30, 40], chunksize=1))
    found = get_perf_stats("work")
    assert found["count"] == 300, found
"""
    for kind in ("session", "own"):
        run(place, text, kind, PYTHONWARNINGS="ignore")
        place.wait_for_end()
        place.shmperf("cleanup")


def test_threads_share_the_tracker(place: Place) -> None:
    """There is one, whoever asks first, and no call is missed."""
    run(
        place,
        """
found = []
def work():
    found.append(get_tracker())
    call("tool", 200)
threads = [threading.Thread(target=work) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
assert len(set(map(id, found))) == 1
assert shmperf.get_perf_stats("tool")["count"] == 1600
""",
    )


def test_assignments_take_effect_at_any_depth(place: Place) -> None:
    """In this process at the next call, by whatever way a dict is changed."""
    run(
        place,
        """
tracker = OptimizedPerfTracker()
config = tracker.config
assert isinstance(config, dict) and isinstance(config["storage"], dict)
assert config["optimization"] == {
    "enabled": False, "trigger_threshold": 10000, "cleanup_on_optimize": True
}
assert json.loads(json.dumps(config))["rag"]["enabled"] is True

limits = config["tool_limits"]
limits["none"] = 0
assert track_tool_call("none", {}) == ""
del limits["none"]
assert track_tool_call("none", {}) != ""
limits.update(none=0, few=1)
assert tracker.config["tool_limits"] is limits and limits == {"none": 0, "few": 1}
assert limits.setdefault("few", 9) == 1 and limits.pop("few") == 1 and limits.pop("few", 3) == 3
limits |= {"all": -1}
assert limits == {"none": 0, "all": -1}
call("all", 300)
assert tracker.get_tool_stats("all")["current_size"] == 300
limits.clear()
assert tracker.get_tool_stats("all")["current_size"] == 100
config["tool_limits"] = {"all": 7}
config["tool_limits"]["more"] = 8
assert limits == {"all": 7, "more": 8}
assert tracker.get_tool_stats("all")["max_size"] == 7

saved = copy.deepcopy(tracker.config)
assert type(saved) is dict and type(saved["tool_limits"]) is dict and saved == tracker.config
tracker.config["storage"]["batch_size"] = 5
tracker.config["capture"]["secret_keys"] = ["pin"]
assert tracker.config != saved
tracker.config = saved
assert tracker.config == saved

tracker.config["optimization"]["cleanup_on_optimize"] = False
call("kept")
tracker.cleanup_old_data()
assert tracker.get_tool_stats("kept")["count"] == 1
tracker.config["optimization"]["enabled"] = True
assert tracker.is_optimization_mode() and shmperf.get_tracker().mode == "optimization"
tracker.mode = TrackingMode.NORMAL
assert not tracker.is_optimization_mode()
tracker.mode = "optimization"
assert tracker.mode is TrackingMode.OPTIMIZATION
""",
    )


def test_what_can_not_be_is_refused(place: Place) -> None:
    """With the key, what was found and what was expected; nothing is changed by it."""
    run(
        place,
        """
tracker = OptimizedPerfTracker()
before = copy.deepcopy(tracker.config)
told = refused(lambda: tracker.config.__setitem__("default_perf_points", "many"))
assert "default_perf_points: found 'many', expected" in told.replace('"', "'").lower(), told
told = refused(lambda: tracker.config["tool_limits"].update(tool=-2))
assert "-2" in told, told
told = refused(lambda: tracker.config["storage"].__setitem__("pth", "x"))
assert "pth" in told, told
told = refused(lambda: tracker.config["storage"].__setitem__("path", "elsewhere"))
assert "storage.path: found 'elsewhere'" in told, told
assert tracker.config == before
""",
    )


def test_settings_are_the_sessions(place: Place) -> None:
    """Another process finds limits, mode and masks changed at its next call, and so on disk."""
    other = place.start_program("optimized_perf_tracker/settings_sessions")
    assert other.stdin is not None
    assert other.stdout is not None
    run(
        place,
        """
tracker = get_tracker()
tracker.config["tool_limits"]["tool"] = 4
tracker.config["capture"]["secret_keys"] = ["pin"]
tracker.config["optimization"]["enabled"] = True
""",
    )
    other.stdin.write("\n")
    other.stdin.flush()
    assert json.loads(other.stdout.readline()) == [{"tool": 4}, "optimization"]
    place.finish(other)
    place.wait_for_end()
    lines = place.lines("tool")
    assert [line["data"]["params"] for line in lines] == [
        {"n": number, "pin": "***"} for number in range(26, 30)
    ]


def test_changes_of_several_processes_at_once_all_hold(place: Place) -> None:
    """Nobody's assignment undoes another's, not even to neighbouring keys."""
    holder = place.start_program("optimized_perf_tracker/changes_several_processes_once_all")
    programs = [
        place.start_script(
            IMPORTS
            + f"""
for number in range(20):
    get_tracker().config["tool_limits"][f"tool-{name}-{{number}}"] = number
"""
        )
        for name in range(4)
    ]
    for program in programs:
        place.finish(program)
    found = run(place, 'print(json.dumps(get_tracker().config["tool_limits"]))')
    assert json.loads(found) == {
        f"tool-{name}-{number}": number for name in range(4) for number in range(20)
    }
    outputs(holder, "\n")


def test_an_edited_file_is_seen_in_config(place: Place) -> None:
    """The collector takes it up, and the dicts inside stay the same objects."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {tool: 5}\n")
    run(
        place,
        """
from pathlib import Path
tracker = get_tracker()
limits = tracker.config["tool_limits"]
assert limits == {"tool": 5}
Path("config/tool_perf_limits.yaml").write_text("tool_limits: {tool: 6}\\n")
deadline = time.monotonic() + float(os.environ["TESTS_DEADLINE_S"])
while tracker.config["tool_limits"] == {"tool": 5}:
    assert time.monotonic() < deadline
    call("tool")
    time.sleep(0.01)
assert limits == {"tool": 6} and tracker.config["tool_limits"] is limits
""",
    )


def test_without_a_collector_the_disk_answers(place: Place) -> None:
    """A named session whose collector is not there: zeros now, and never an error."""
    run(
        place,
        """
module._STATS_WAIT_S = 0.1
tracker = OptimizedPerfTracker()
call("tool", 3)
assert tracker.get_all_stats()["complete"] is False
tracker.config["tool_limits"]["tool"] = 1
assert tracker.config["tool_limits"] == {"tool": 1}
""",
        SHMPERF_SESSION=f"nobody-{place.runtime.name}",
    )


def test_tracking_off_answers_with_zeros(place: Place) -> None:
    """Nothing fails, nothing is written, and the configuration is this process's own."""
    run(
        place,
        """
tracker = OptimizedPerfTracker()
assert not tracker.enabled
call("tool", 3)
assert tracker.get_tool_stats("tool")["count"] == 0
assert get_perf_stats()["mode"] == "off"
tracker.config["tool_limits"]["tool"] = 3
assert tracker.config["tool_limits"] == {"tool": 3}
tracker.set_optimization_mode(True)
assert tracker.mode is TrackingMode.NORMAL
tracker.cleanup_old_data()
tracker.shutdown()
tracker = OptimizedPerfTracker()
tracker.enabled = True
call("tool", 3)
assert tracker.get_tool_stats("tool")["count"] == 3
tracker.enabled = False
call("tool", 3)
tracker.enabled = True
assert tracker.get_tool_stats("tool")["count"] == 3
""",
        OPTIMIZED_PERF_TRACKER_ENABLED="off",
    )
