"""
When a run of the optimization cycle begins and ends: what is known in, one instruction out. Pure.

                     begin                 held                 bounds, mode, session, request
    (nothing) ──────────────► Run, not on ──────► Run, on ─────────────────────────► Run, named
        ▲                        ▲    hold again after a kill                            │
        └────────────────────────┴──────────────── over, once its report is there ◄──────┘

Every arrow is journalled before anything else depends on it. So a collector that takes up what a
killed one left finds one of these states and goes on from there:

    killed after …               is next instructed to
    begun, word not held         hold the session's word
    held                         go on, and end at the bounds that were set
    named, word still held       finish: release, write, be done
    report written               the same: the report is written again, under its name
    over, word still held        release (a word that nobody's run holds)

A run of another session, whose programs have gone, ends at once, with what was seen.
"""

from __future__ import annotations

from typing import NamedTuple

from shmperf.analysis.optimization import Marks, Run
from shmperf.config.options import Optimization as OptimizationOptions

__all__ = [
    "MANUAL",
    "THRESHOLD",
    "Begin",
    "End",
    "Finish",
    "Hold",
    "Instruction",
    "Look",
    "Release",
    "is_due",
    "next_step",
]

THRESHOLD, MANUAL = "threshold", "manual"


class Look(NamedTuple):
    """
    What is known at one moment.

    ``drained`` is all calls of the storage that have ended, whatever was cleaned up; ``is_held``
    whether a run holds the session's word.
    """

    now_s: float
    session: str
    drained: int
    is_held: bool
    may_begin: bool


class Begin(NamedTuple):
    """Begin a run that nobody asked for."""


class Hold(NamedTuple):
    """Hold the session's word in detail."""


class Release(NamedTuple):
    """Release a word that no run holds."""


class End(NamedTuple):
    """The run is to end: name its report."""

    reason: str


class Finish(NamedTuple):
    """Write the report that has a name, and be done with the run."""


Instruction = Begin | Hold | Release | End | Finish | None


def next_step(
    marks: Marks, run: Run | None, options: OptimizationOptions, look: Look
) -> Instruction:
    """What is to be done now; None for nothing."""
    if run is None:
        if look.is_held:
            return Release()
        return Begin() if look.may_begin and is_due(marks, options, look) else None
    if run.is_ending:
        return Finish()
    if run.session != look.session:
        return End("session")
    if run.calls >= run.most_calls:
        return End("calls")
    if is_over(run, look.now_s):
        return End("time")
    if look.is_held == run.is_on:
        return None if run.is_on else Hold()
    return End("mode") if run.is_on else Hold()


def is_due(marks: Marks, options: OptimizationOptions, look: Look) -> bool:
    """True when enough calls have ended since the last run, or the session's beginning."""
    if not options.trigger_threshold or marks.session != look.session:
        return False
    if look.drained - marks.counted_from < options.trigger_threshold:
        return False
    since_s = None if marks.automatic_s is None else look.now_s - marks.automatic_s
    return since_s is None or since_s < 0 or since_s >= options.min_interval_seconds


def is_over(run: Run, now_s: float) -> bool:
    """True when its time has passed, or its clock is that of a boot before."""
    return not 0 <= now_s - run.began_s < run.seconds
