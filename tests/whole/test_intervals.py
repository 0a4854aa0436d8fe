"""Intervals of real processes: complete, whoever is killed, live and from disk."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from shmperf.analysis.spans import IntervalsView
from shmperf.query.answers import find_answers, request_for
from tests.support import Place, assert_books_balance, outputs


def view_of(place: Place, tool: str | None = None) -> IntervalsView:
    """What is answered to who asks for intervals of the storage."""
    environ = {"XDG_RUNTIME_DIR": str(place.runtime)}
    request = request_for(session=None, storage=str(place.storage), config=None, environ=environ)
    return find_answers(request).intervals(tool)


def test_killed_collectors_cost_no_call_of_any_interval(place: Place) -> None:
    """kill -9 in the middle, again and again: all intervals together are the totals."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {kept: -1}\n")
    program = place.start_program("end_to_end/killed_collector_costs_no_line")
    assert program.stdout is not None
    assert program.stdin is not None
    for turn in range(60):
        ids = program.stdout.readline().split()
        assert len(ids) == 100
        if turn % 12 == 5:
            os.kill(place.collector_pid(), signal.SIGKILL)
        if turn == 30:
            live = view_of(place).totals()["kept"]
            assert live.count == 3_100
        program.stdin.write("\n")
        program.stdin.flush()
    outputs(program)
    place.wait_for_end()
    stats = place.stats()
    assert_books_balance(stats)
    known = stats["tool_stats"]["kept"]
    (name, found), *others = view_of(place).totals().items()
    assert (name, others) == ("kept", [])
    assert (found.count, found.errors) == (known["count"], 0) == (6_000, 0)
    assert found.sum_ns / found.count / 1e9 == known["avg_duration_s"]
    assert found.own_ns == found.sum_ns
    spans = list(view_of(place, "kept").spans())
    assert sum(span.tools["kept"].count for span in spans) == 6_000
    assert all(span.start_s % 30 == 0 for span in spans)


def test_a_storage_that_nobody_wrote_has_no_intervals(tmp_path: Path, runtime: Path) -> None:
    """No answer is an empty one, and no error."""
    place = Place(tmp_path, runtime)
    assert view_of(place).totals() == {}
    assert list(view_of(place, "tool").spans()) == []
