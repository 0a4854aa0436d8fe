"""
Runs of the optimization cycle whose collectors are killed: one report each, and nobody is stuck.

What is looked at when all is over: every report is whole and has its text, no run is left, the
session is not held in detail, and no file waits for a clean-up.
"""

from __future__ import annotations

import random
import secrets
from typing import Any

from shmperf.analysis.optimization import Optimization
from shmperf.config.options import Options
from shmperf.errors import StoreError
from shmperf.session.messages import Optimize
from shmperf.storage.reports import FOLDER, load, names
from shmperf.storage.state import load as load_state

from .books import Tally
from .place import Place
from .points import points, points_in

__all__ = ["RUNS", "RUNS_OF_FEW", "check_runs", "draw_of_run", "request"]

RUNS = (
    "default_perf_points: -1\n"
    "optimization: {trigger_threshold: 500, min_interval_seconds: 1, run_seconds: 0.3}\n"
    "storage: {flush_interval_seconds: 0.1}\n"
)
RUNS_OF_FEW = RUNS.replace("-1", "5")
_POINTS = sorted(
    points_in("collector/optimizing.py", "storage/reports.py")
    | {name for name in points() if name.startswith(("cut-", "run-"))}
)


def draw_of_run(rng: random.Random) -> list[Any]:
    """Where in a run a collector is killed."""
    return [rng.choice(_POINTS), 1, "kill"]


def request() -> Optimize:
    """Somebody wants a short run."""
    return Optimize(secrets.token_hex(8), 0.2, 100)


def check_runs(tally: Tally, place: Place, what: str) -> None:
    """What runs have left in *place*."""
    folder = place.storage / FOLDER
    there = names(place.storage)
    if not there:
        tally.blame(f"{what}: no run has left a report")
    for name in there:
        try:
            load(place.storage, name)
        except StoreError as error:
            tally.blame(f"{what}: {error}")
        if not (folder / f"{name}.md").is_file():
            tally.blame(f"{what}: the report {name} has no text")
    ledger, damage = load_state(place.storage, Options())
    if ledger.analyses.of(Optimization).run is not None:
        tally.blame(f"{what}: a run is left over; {damage}")
    if ledger.state.cutting:
        tally.blame(f"{what}: a clean-up is left over: {ledger.state.cutting}")
