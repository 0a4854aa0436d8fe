"""The drop-in module: what code written for one process finds, and what holds across processes."""

from __future__ import annotations

import json

import pytest

from tests.support import Place, assert_books_balance, outputs, program_text


def run(place: Place, name: str, *arguments: str, **environ: str) -> str:
    """Run a program of this module's to its end, beside what they share; its output."""
    place.write("calls.py", program_text("optimized_perf_tracker/calls"))
    return place.run_program(f"optimized_perf_tracker/{name}", *arguments, **environ)


def test_code_for_a_single_process_runs_unchanged(place: Place) -> None:
    """Names, arguments and results, as a test suite of the single-process module uses them."""
    run(
        place,
        "code_for_single_process_runs",
    )
    assert place.lines("parent_tool") == []


def test_a_fresh_tracker_counts_from_zero(place: Place) -> None:
    """Whatever was counted before in this session or an earlier one; the session keeps it all."""
    text = "fresh_tracker_counts_from_zero"
    for before in ("0", "7"):
        assert_books_balance(json.loads(run(place, text, before)))
        place.wait_for_end()
    assert place.stats()["total_calls"] == 2 * (7 + 150 + 1)


@pytest.mark.parametrize("kill", [[], ["kill"]])
def test_least_and_greatest_are_of_the_trackers_own_calls(place: Place, kill: list[str]) -> None:
    """Exact where older calls were shorter and longer, also when the collector was killed since."""
    run(place, "least_greatest_trackers_own_calls", *kill)


def test_a_cleanup_by_another_process_is_no_debt(place: Place) -> None:
    """What it took away is not subtracted from what came later."""
    run(
        place,
        "cleanup_by_another_process_no",
    )


def test_statistics_are_of_all_processes(place: Place) -> None:
    """Forked, spawned and forkserver workers; each finds its own calls at once."""
    text = "statistics_all_processes"
    for kind in ("session", "own"):
        run(place, text, kind, PYTHONWARNINGS="ignore")
        place.wait_for_end()
        place.shmperf("cleanup")


def test_threads_share_the_tracker(place: Place) -> None:
    """There is one, whoever asks first, and no call is missed."""
    run(
        place,
        "threads_share_tracker",
    )


def test_assignments_take_effect_at_any_depth(place: Place) -> None:
    """In this process at the next call, by whatever way a dict is changed."""
    run(
        place,
        "assignments_take_effect_any_depth",
    )


def test_what_can_not_be_is_refused(place: Place) -> None:
    """With the key, what was found and what was expected; nothing is changed by it."""
    run(
        place,
        "what_can_not_be_refused",
    )


def test_settings_are_the_sessions(place: Place) -> None:
    """Another process finds limits, mode and masks changed at its next call, and so on disk."""
    place.write("calls.py", program_text("optimized_perf_tracker/calls"))
    other = place.start_program("optimized_perf_tracker/settings_watched")
    assert other.stdin is not None
    assert other.stdout is not None
    run(
        place,
        "settings_changed",
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
    holder = place.start_program("optimized_perf_tracker/holder")
    programs = [
        place.start_program("optimized_perf_tracker/limits_assigned", str(name))
        for name in range(4)
    ]
    for program in programs:
        place.finish(program)
    found = run(place, "limits_printed")
    assert json.loads(found) == {
        f"tool-{name}-{number}": number for name in range(4) for number in range(20)
    }
    outputs(holder, "\n")


def test_an_edited_file_is_seen_in_config(place: Place) -> None:
    """The collector takes it up, and the dicts inside stay the same objects."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {tool: 5}\n")
    run(
        place,
        "edited_file_seen_config",
    )


def test_without_a_collector_the_disk_answers(place: Place) -> None:
    """A named session whose collector is not there: zeros now, and never an error."""
    run(
        place,
        "without_collector_disk_answers",
        SHMPERF_SESSION=f"nobody-{place.runtime.name}",
    )


def test_tracking_off_answers_with_zeros(place: Place) -> None:
    """Nothing fails, nothing is written, and the configuration is this process's own."""
    run(
        place,
        "tracking_off_answers_with_zeros",
        OPTIMIZED_PERF_TRACKER_ENABLED="off",
    )
