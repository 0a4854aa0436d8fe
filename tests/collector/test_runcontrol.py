"""What is next for a run, state by state: the table that a collector goes by, killed or not."""

from __future__ import annotations

import msgspec
import pytest

from shmperf.analysis.optimization import Marks, Run
from shmperf.collector.runcontrol import (
    Begin,
    End,
    Finish,
    Hold,
    Instruction,
    Look,
    Release,
    next_step,
)
from shmperf.config.options import Optimization

OPTIONS = Optimization(trigger_threshold=100, min_interval_seconds=50, run_calls=10, run_seconds=20)
NOW = Look(now_s=1_000.0, session="s", drained=150, is_held=False, may_begin=True)
MARKS = Marks(session="s", counted_from=50)
RUN = Run("threshold", "s", began_s=990.0, began_ns=0, most_calls=10, seconds=20.0, is_on=True)


def seen(**changes: object) -> Look:
    return NOW._replace(**changes)  # type: ignore[arg-type]  # as each case says


def marks(**changes: object) -> Marks:
    return msgspec.structs.replace(MARKS, **changes)


def run(**changes: object) -> Run:
    return msgspec.structs.replace(RUN, **changes)


@pytest.mark.parametrize(
    ("known", "going", "look", "expected"),
    [
        (MARKS, None, NOW, Begin()),
        (MARKS, None, seen(drained=149), None),
        (MARKS, None, seen(may_begin=False), None),
        (marks(session="former"), None, NOW, None),
        (marks(automatic_s=951.0), None, NOW, None),
        (marks(automatic_s=950.0), None, NOW, Begin()),
        # The clock of a boot before says nothing.
        (marks(automatic_s=2_000.0), None, NOW, Begin()),
        (MARKS, None, seen(is_held=True), Release()),
        (MARKS, run(is_on=False), NOW, Hold()),
        (MARKS, run(is_on=False), seen(is_held=True), Hold()),
        (MARKS, RUN, seen(is_held=True), None),
        (MARKS, run(calls=9), seen(is_held=True), None),
        (MARKS, run(calls=10), seen(is_held=True), End("calls")),
        (MARKS, RUN, seen(is_held=True, now_s=1_009.9), None),
        (MARKS, RUN, seen(is_held=True, now_s=1_010.0), End("time")),
        (MARKS, RUN, seen(is_held=True, now_s=989.0), End("time")),
        (MARKS, RUN, NOW, End("mode")),
        (MARKS, run(session="former"), seen(is_held=True), End("session")),
        (MARKS, run(name="n"), seen(is_held=True), Finish()),
        (MARKS, run(name="n", session="former"), NOW, Finish()),
    ],
)
def test_every_state_has_one_next_step(
    known: Marks, going: Run | None, look: Look, expected: Instruction
) -> None:
    """Whatever a killed collector has left, the next one knows what to do."""
    found = next_step(known, going, OPTIONS, look)
    assert (type(found), found) == (type(expected), expected)


def test_a_threshold_of_zero_never_begins() -> None:
    """However many calls there were."""
    options = msgspec.structs.replace(OPTIONS, trigger_threshold=0)
    assert next_step(MARKS, None, options, seen(drained=10**9)) is None
