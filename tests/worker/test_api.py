"""What a program calls by hand, and what it is told."""

from __future__ import annotations

import json

import pytest

from shmperf.analysis.stats import empty_stats
from shmperf.worker.zeros import zeros
from tests.support import Place, outputs

TOOL_KEYS = [
    "tool",
    "count",
    "avg_duration_s",
    "min_duration_s",
    "max_duration_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "errors",
    "aborted",
    "sampled_out",
    "current_size",
    "max_size",
    "last_updated",
    "in_flight",
    "complete",
    "histogram",
    "estimated",
]
ALL_KEYS = [
    "total_calls",
    "mode",
    "tools_tracked",
    "tool_stats",
    "begun",
    "in_flight",
    "aborted",
    "lost",
    "faults",
    "workers",
    "complete",
    "nameless",
    "varying",
    "unattached",
]


def test_statistics_have_the_promised_shape(place: Place) -> None:
    """One tool's dictionary, all tools', an unknown tool's, and the command's are the same."""
    keys = json.dumps((TOOL_KEYS, ALL_KEYS))
    place.run_program("api/statistics_have_promised_shape", keys)
    assert list(place.ask("stats")) == ALL_KEYS
    assert list(place.ask("stats", "tool")) == TOOL_KEYS


def test_pairs_end_anywhere_with_error_and_metadata(place: Place) -> None:
    """A pair may end in another thread, with an error or its text, and metadata."""
    place.run_program("api/pairs_end_anywhere_with_error")
    place.wait_for_end()
    plain, full = (line["data"] for line in place.lines("pair"))
    assert (plain["p"], plain["err"], plain["status"]) == ('{"a":1}', "ValueError", "error")
    assert (full["params"], full["err"], full["error"]) == (
        {"b": [2]},
        "Refused",
        "Refused: by hand",
    )
    assert full["metadata"] == {"during": 1, "after": 2}
    assert full["cpu_percent"] is None


def test_switch_works_at_once_in_this_process(place: Place) -> None:
    """``enabled`` stops and resumes recording; an open call is finished all the same."""
    place.run_program("api/switch_works_once_this_process")


def test_switching_on_overrides_the_environment(place: Place) -> None:
    """A program that was started with tracking off can switch it on."""
    place.run_program(
        "api/switching_on_overrides_environment",
        OPTIMIZED_PERF_TRACKER_ENABLED="0",
    )


def test_odd_switch_value_is_told_once_and_means_on(place: Place) -> None:
    """A value that is neither yes nor no is told on the logger."""
    program = place.start_program(
        "api/odd_switch_value_told_once",
        OPTIMIZED_PERF_TRACKER_ENABLED="maybe",
    )
    _, error = outputs(program)
    assert program.returncode == 0
    assert error.count("maybe") == 1


def test_cleanup_can_be_forbidden(place: Place) -> None:
    """With cleanup_on_optimize false nothing is forgotten but by force."""
    place.write("config/tool_perf_limits.yaml", "optimization: {cleanup_on_optimize: false}\n")
    place.run_program("api/cleanup_can_be_forbidden")
    place.wait_for_end()
    place.shmperf("cleanup", code=1)
    assert place.stats()["total_calls"] == 1
    place.shmperf("cleanup", "--force")
    assert place.stats()["begun"] == 0


def test_flush_means_on_disk(place: Place) -> None:
    """After flush the files hold what had ended in every process."""
    place.run_program("api/flush_means_on_disk")


def test_import_is_light(place: Place) -> None:
    """Importing starts no thread or process, and brings nothing that recording needs not."""
    place.run_program("api/import_light")
    assert place.sessions() == []


def test_questions_never_raise(place: Place) -> None:
    """Without descriptors, and in a session that somebody has removed, they say no; it is told."""
    program = place.start_program("api/questions_never_raise")
    assert place.finish(program) == "normal False\n"
    told = program.error_text.splitlines()  # type: ignore[attr-defined]
    assert sum(line.startswith("the mode was not switched: ") for line in told) == 2


def test_odd_tool_names_and_params_never_raise(place: Place) -> None:
    """Names that are no strings and parameters that are no mapping are recorded as they show."""
    place.run_program("api/odd_tool_names_params_never")


def test_answers_outlive_collectors_that_are_killed(place: Place) -> None:
    """Whoever asks after a collector's death, or in it, gets the next one's answer, whole."""
    made = int(place.run_program("api/answers_outlive_collectors"))
    stats = place.stats()
    assert (stats["total_calls"], stats["lost"]) == (made, {})


def test_short_answers_say_so(place: Place) -> None:
    """Without a collector one tool's statistics, all tools' and a listing are told to be short."""
    place.run_program("api/short_answers_say_so", SHMPERF_SESSION="nobody-collects")
    assert place.ask("stats", "tool", "--session", "nobody-collects")["complete"] is False
    assert place.ask("tree", "--session", "nobody-collects") == []


def test_nobody_waits_for_a_collector_that_can_not_start(place: Place) -> None:
    """The answer is short, and says so; the reason is told when the program ends."""
    site = (
        "import os, sys\nif '-c' in sys.orig_argv: sys.stderr.write('no such luck'); os._exit(3)\n"
    )
    place.write("site/sitecustomize.py", site)
    program = place.start_program("api/collector_can_not_start", PYTHONPATH=str(place.cwd / "site"))
    _, told = outputs(program)
    assert program.returncode == 0, told
    assert "not every call was on disk" in told
    assert "the collector did not start: no such luck" in told


@pytest.mark.parametrize("tool", [None, "tool"])
def test_answers_without_a_reader_have_the_shape_of_all_others(tool: str | None) -> None:
    """Where nothing can be imported any more zeros look as they do elsewhere, and say so."""
    assert zeros(tool, "off") == empty_stats(tool)
    assert zeros(tool, "normal")["complete"] is False


def test_one_block_object_may_be_entered_many_times(place: Place) -> None:
    """One after the other, and inside itself: each is a call, and each ends."""
    place.run_program("api/one_block_object_many_times")
    place.wait_for_end()
    counts = {tool: row["count"] for tool, row in place.stats()["tool_stats"].items()}
    assert counts == {"again": 3, "inner": 1}
    assert (place.stats()["begun"], place.stats()["in_flight"]) == (4, 0)
