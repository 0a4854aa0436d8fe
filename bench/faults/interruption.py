"""
Section 5: calls struck in the middle by signals, other threads, recursion, shutdown.

Nobody dies here, so every call that began is finished or counted as lost, and none is aborted.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import shmperf

from .books import Rules, Tally, check, check_books
from .campaign import IN_DETAIL, KEEP_ALL, Campaign
from .children import INTERRUPTIONS
from .place import Place, unexpected

__all__ = ["interrupt"]

_SLOTS = 3000

# Copied, so that the campaign's own modules are not beside it.
_SHUTDOWN = Path(__file__).with_name("shutdown.py")


def interrupt(campaign: Campaign, seconds: float) -> Tally:
    """Every way in turn until the time is up."""
    tally = campaign.begin(seconds, "interruption")
    ways = [*INTERRUPTIONS, "shutdown"]
    number = 0
    while not campaign.is_over or number < len(ways):
        way = ways[number % len(ways)]
        config = IN_DETAIL if number // len(ways) % 2 else KEEP_ALL
        with campaign.place(tally, config) as place:
            what = f"{way}{', detail' if config is IN_DETAIL else ''}"
            if way == "shutdown":
                _shut_down(campaign, tally, place)
            else:
                _strike(campaign, tally, place, way, what)
        number += 1
    return tally


def _strike(campaign: Campaign, tally: Tally, place: Place, way: str, what: str) -> None:
    rng, nursery = campaign.rng, campaign.nursery
    for warm in (True, False):
        seed = rng.getrandbits(30)
        more = {"way": way, "log": place.new_log(), "seed": seed, "slots": _SLOTS, "warm": warm}
        ended = nursery.run(**place.child("interrupted", **more))
        tally.tried += 1
        if ended.status:
            tally.blame(f"{what}: the worker ended with {ended.status}, seed {seed}, warm {warm}")
    if not place.end_sessions(nursery):
        tally.blame(f"{what}: a session did not end")
    rules = Rules(nobody_died=True, may_be_unnamed=way.startswith("calls in"))
    check(tally, place, what, rules)


def _shut_down(campaign: Campaign, tally: Tally, place: Place) -> None:
    script = place.cwd / "script.py"
    script.write_text(_SHUTDOWN.read_text())
    package = Path(shmperf.__file__).parent.parent
    environ = {**os.environ, **place.environ, "PYTHONPATH": str(package)}
    errors = place.cwd / "shutdown-errors"
    for code in (0, 3):
        pause_s = f"{campaign.rng.random() * 0.1:.4f}"
        program = subprocess.run(
            [sys.executable, str(script), pause_s, str(code)],
            cwd=place.cwd,
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=errors.open("w"),
            timeout=60,
            check=False,
        )
        tally.tried += 1
        said = unexpected(errors)
        if program.returncode != code or said:
            tally.blame(
                f"shutdown: ended with {program.returncode}, expected {code}: {said[-800:]}"
            )
    if not place.end_sessions(campaign.nursery):
        tally.blame("shutdown: a session did not end")
    check_books(tally, place.stats(), "shutdown")
