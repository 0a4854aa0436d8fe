"""The points in C: known by their labels, nothing in what is installed, and where one stops."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest

from bench.faults.instrumented import ROOT, Build, build_in
from bench.faults.points import instrumented_build, points, points_for, stop_at
from shmperf.compiled.chosen import hot, why_not
from tests.support import Place, outputs

COMPILED = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")
SOURCES = ROOT / "shmperf" / "compiled"
# Steps that are one in Python, or none: a store there is one call, and a call listed in one place.
ONLY_IN_C = {
    *("row-thread", "slot-body", "slot-commit", "count-store"),
    *("left-list", "left-listed", "left-late", "quick-late", "grant-refill", "grant-refilled"),
    *("pair-announce", "pair-taken", "ring-committed", "kept-take"),
    *("detail-begun", "detail-raised", "detail-returned"),
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    found = build_in(tmp_path_factory.mktemp("build") / "instrumented")
    assert not found.why_not
    return found


def in_c() -> set[str]:
    return {name.removeprefix("compiled-") for name, point in points().items() if point.is_compiled}


def test_every_label_in_c_is_a_point_and_names_a_known_step() -> None:
    """The same name as the step has in Python, or one of those that C alone has."""
    labels = [
        label
        for path in SOURCES.glob("*.[ch]")
        for label in re.findall(r'^ *POINT\("([^"]*)"\);$', path.read_text(), re.MULTILINE)
    ]
    assert len(labels) == len(set(labels))
    assert set(labels) == in_c()
    in_python = {name for name, point in points().items() if not point.is_compiled}
    assert in_c() - in_python == ONLY_IN_C
    room = re.search(r"MOST = (\d+)", (ROOT / "bench" / "faults" / "points.c").read_text())
    assert room is not None
    assert len(in_c()) < int(room[1])


def test_each_path_has_its_own_points() -> None:
    """How many there are is told of the path that runs; the steps of a call are there in both."""
    pure, both = points_for(in_c=False), points_for(in_c=True)
    assert both.keys() - pure.keys() == {f"compiled-{name}" for name in in_c()}
    steps = {"row-take", "row-id", "call-returned", "slot-take", "slot-stored", "row-free"}
    assert steps <= pure.keys()
    assert steps <= in_c()


def test_what_is_installed_has_no_points() -> None:
    """Whoever wants to stop there is told, and does not wait for it."""
    assert instrumented_build() is None
    with pytest.raises(LookupError, match="has no points"):
        stop_at("compiled-row-id", 1, "kill")


def start(place: Place, build: Build, point: str, action: str) -> tuple[list[int], int]:
    """What each call told of the point, at whose third time *action* is; how the program ended."""
    program = place.start_program(
        "points/calls_that_stop", point, "3", action, PYTHONPATH=str(build.root)
    )
    if action == "stop":
        _, status = os.waitpid(program.pid, os.WUNTRACED)
        assert os.WSTOPSIG(status) == signal.SIGSTOP
        os.kill(program.pid, signal.SIGCONT)
    told, _ = outputs(program)
    place.wait_for_end()
    return [int(times) for times in told.split()], program.returncode


@COMPILED
@pytest.mark.parametrize(
    ("point", "aborted"), [("row-take", 0), ("row-id", 0), ("slot-commit", 1), ("row-free", 0)]
)
def test_a_process_is_killed_at_the_nth_time(
    place: Place, build: Build, point: str, aborted: int
) -> None:
    """Just before the line: of a call that has not begun nothing is there, all others are."""
    told, code = start(place, build, f"compiled-{point}", "kill")
    assert code == -signal.SIGKILL
    assert told[-1] == 2
    found = [line["data"].get("status") == "aborted" for line in place.lines("tool")]
    assert found == [False] * (len(told) - aborted) + [True] * aborted


@COMPILED
@pytest.mark.parametrize("action", ["stop", "pause:0.01"])
def test_a_process_goes_on_where_it_was_stopped(place: Place, build: Build, action: str) -> None:
    """Nothing is lost by it, and it is stopped once."""
    told, code = start(place, build, "compiled-slot-commit", action)
    assert (told[-1], code) == (4, 0)
    assert len(place.lines("tool")) == len(told)


@COMPILED
def test_points_are_counted_in_both_languages(place: Place, build: Build) -> None:
    """What a child reaches is what points are drawn from."""
    counts = json.loads(place.run_program("points/counts", PYTHONPATH=str(build.root)))
    names = ("row-take", "row-id", "call-returned", "slot-commit", "call-done", "left-raised")
    took, begun, returned, stored, done, raised = (counts[f"compiled-{name}"] for name in names)
    assert took == begun == done + raised
    assert returned == stored == done >= 2
    # The rest of a call that failed is Python's.
    assert counts["left-finished"] >= raised >= 2
    assert "row-id" not in counts


def test_without_a_compiler_the_campaign_runs_what_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told why, and that there are fewer points."""
    monkeypatch.setenv("CC", "/nowhere/cc")
    found = build_in(tmp_path / "instrumented")
    assert found.root == ROOT
    assert found.why_not.startswith("no compiler" if hot is not None else why_not)
