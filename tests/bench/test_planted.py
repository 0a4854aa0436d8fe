"""Troubles of real programs, as they are measured: told, over, or missed."""

from __future__ import annotations

from bench.planted import LONG, QUICK, Plan, Stage, planted


def test_planted_trouble_is_timed_and_nothing_else_is_told() -> None:
    """A call that hangs is told and so is its end; what nobody tells of is missed."""
    stuck = Plan("stuck", "stuck", 1.0, "stuck", a_second=60.0, usual_ms=2.0, is_learnt=False)
    never = Plan("never", "quiet", 0.0, "errors", is_learnt=False, patience=3.0)
    rows = {row.name: row for row in planted([Stage(1.0, (stuck, never))])}
    # Older than ten times its p99, and than a second.
    assert rows["told after, real program, stuck"].value > 1.0
    assert rows["end told after, real program, stuck"].value > 0.0
    assert rows["missed, real program, stuck"].value == 0
    missed = rows["missed, real program, never"]
    assert (missed.value, missed.unit, missed.met) == (1, "of 1", False)
    assert "told after, real program, never" not in rows
    false = {name: row for name, row in rows.items() if name.startswith("false alarms")}
    assert len(false) == 6
    assert sum(row.value for row in false.values()) == 0


def test_every_kind_of_trouble_is_planned() -> None:
    """In the long form all kinds but losses, with quiet programs beside them."""
    plans = [plan for stage in LONG for plan in stage.plans]
    kinds = {plan.kind for plan in plans}
    assert kinds == {"latency", "errors", "stuck", "silence", "memory", None}
    assert all(plan.kind for stage in QUICK for plan in stage.plans)
