"""
``python -m bench.faults [SECTION …] [--seed N] [--minutes N | --short | --soak N] [--json FILE]``.
``python -m bench.faults --self-test``

Kills, starves, damages and interrupts shmperf, checks every call afterwards, prints a table and
exits with 1 when anything was wrong. The same seed draws the same faults; what the machine makes
of them depends on its mood, so a failure is shown with everything that is known of it.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from bench.measure import environment

from .books import Least, Tally
from .campaign import Campaign
from .clocks import turn_clocks
from .collectors import kill_collectors
from .comings import come_and_go
from .corruption import corrupt
from .flood import flood
from .instrumented import build_in
from .interruption import interrupt
from .place import make_memory_private
from .points import Point, points_for
from .selftest import test_campaign
from .soak import soak
from .starvation import starve
from .workers import kill_workers


class _Section(NamedTuple):
    """Its share of the time, how to run it for so many seconds, and what it must do in them."""

    share: float
    run: Callable[[Campaign, float], Tally]
    least: Least


_SECTIONS = {
    "workers": _Section(0.35, kill_workers, Least(20, 20)),
    "collectors": _Section(0.3, kill_collectors, Least(10, 8)),
    "starvation": _Section(0.1, starve, Least(1)),
    "corruption": _Section(0.1, corrupt, Least(1)),
    "interruption": _Section(0.1, interrupt, Least(1)),
    "time": _Section(0.05, turn_clocks, Least(1)),
    "comings": _Section(0.1, come_and_go, Least(10, 5)),
    "flood": _Section(0.05, flood, Least(1)),
}
_SHORT_S = 60.0
_SOAK = _Section(1.0, soak, Least(0))


def main() -> int:
    """Run the sections asked for; 1 when anything was wrong."""
    given = _arguments()
    seed = secrets.randbelow(1 << 32) if given.seed is None else given.seed
    if given.self_test:
        return test_campaign(seed)
    console = Console(width=None if sys.stdout.isatty() else 110)
    env = {"seed": str(seed), **{key: str(value) for key, value in environment().items()}}
    console.print(", ".join(f"{key} {value}" for key, value in env.items()), style="dim")
    if not make_memory_private():
        console.print("shared memory is not private here: only new names count as leaks")
    total_s = _SHORT_S if given.short else given.minutes * 60.0
    names = given.sections or list(_SECTIONS)
    if given.soak:
        names, total_s = ["soak"], given.soak * 60.0
    shares = sum(_SECTIONS.get(name, _SOAK).share for name in names)
    base = Path(tempfile.mkdtemp(prefix="faults-"))
    build = build_in(base / "instrumented")
    if build.why_not:
        console.print(f"without the test points in C: {build.why_not}")
    # At a fleet's points publishers and collectors are killed by tests, with a broker beside them.
    there = {
        name: point
        for name, point in points_for(in_c=not build.why_not).items()
        if not name.startswith("fleet-")
    }
    tallies = []
    started = time.monotonic()
    try:
        for name in names:
            section = _SECTIONS.get(name, _SOAK)
            campaign = Campaign(base, seed, section.least, root=build.root, verbose=given.verbose)
            tallies.append(_run(name, section, campaign, total_s * section.share / shares))
    finally:
        if not given.verbose:
            shutil.rmtree(base, ignore_errors=True)
    console.print(_table(tallies))
    _print_wrong(console, tallies, there)
    if given.json:
        report = _report(env, tallies, there, time.monotonic() - started)
        Path(given.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0 if all(tally.is_right for tally in tallies) else 1


def _run(name: str, section: _Section, campaign: Campaign, seconds: float) -> Tally:
    """A section's outcome; what it raises itself, and doing next to nothing, is wrong as well."""
    try:
        tally = section.run(campaign, seconds)
    except Exception:  # noqa: BLE001  one that can't go on has found nothing, and must not pass
        tally = Tally(name, wrong=[f"the section itself failed: {traceback.format_exc()}"])
    else:
        if lacking := tally.lacks(section.least, seconds):
            tally.blame(lacking)
    finally:
        campaign.close()
    return tally


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*_SECTIONS, []], metavar="SECTION")
    parser.add_argument("--seed", type=int, help="draw the same faults again")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long, about (10)")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="only that: nothing grows")
    parser.add_argument("--short", action="store_true", help="in less than two minutes")
    parser.add_argument("--self-test", action="store_true", help="plant faults: each must be found")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--verbose", action="store_true", help="tell at once, and leave places")
    return parser.parse_args()


def _table(tallies: list[Tally]) -> Table:
    table = Table(title="faults", box=box.SIMPLE_HEAD, title_justify="left", show_footer=True)
    columns = ("tried", "survived", "lost", "doubled", "leaked")
    sums = [sum(getattr(tally, name) for tally in tallies) for name in columns]
    table.add_column("", footer="in all")
    for name, total in zip(columns, sums, strict=True):
        table.add_column(name, f"{total:,}", justify="right")
    for tally in tallies:
        figures = [f"{getattr(tally, name):,}" for name in columns]
        table.add_row(tally.section, *figures)
    return table


def _print_wrong(console: Console, tallies: list[Tally], there: dict[str, Point]) -> None:
    workers = sum(tally.worker_kills for tally in tallies)
    collectors = sum(tally.collector_kills for tally in tallies)
    stopped_at = {name for tally in tallies for name in tally.points}
    in_c = {name for name, point in there.items() if point.is_compiled}
    told_of_c = f", {len(stopped_at & in_c)} of {len(in_c)} in C" if in_c else ""
    console.print(
        f"{workers:,} workers and {collectors:,} collectors killed; "
        f"stopped at {len(stopped_at)} of {len(there)} test points{told_of_c}"
    )
    for tally in tallies:
        for text in tally.skipped:
            console.print(f"{tally.section}: skipped: {text}", style="yellow")
        for text in tally.wrong:
            console.print(f"{tally.section}: {text}", style="red", markup=False)


def _report(
    env: dict[str, str], tallies: list[Tally], there: dict[str, Point], elapsed_s: float
) -> dict[str, Any]:
    stopped_at = {name for tally in tallies for name in tally.points}
    sums = ("worker_kills", "collector_kills", "tried", "survived", "lost", "doubled", "leaked")
    return {
        "env": env,
        "elapsed_s": elapsed_s,
        **{name: sum(getattr(tally, name) for tally in tallies) for name in sums},
        "wrong": [text for tally in tallies for text in tally.wrong],
        "skipped": [text for tally in tallies for text in tally.skipped],
        "points": {"stopped_at": len(stopped_at), "there_are": len(there)},
        "points_never_reached": sorted(there.keys() - stopped_at),
        "sections": [
            {
                "section": tally.section,
                **{name: getattr(tally, name) for name in sums},
                "counted_by_shmperf": tally.counted,
                "points": dict(tally.points),
            }
            for tally in tallies
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
