"""
``python -m bench.rag``: does choosing tools by what shmperf has measured pay, and what it costs.

Real: the catalogue and its queries (package ``bfcl-eval``), the embedding model, the work that
providers do, its duration, the exceptions, the processes, and all statistics that a policy sees.
Synthetic, and printed as such: how many providers a tool has, how much work and how many failures
each of them is given, how often a query is asked, and which providers break half-way.

The calibration of relevance was fitted on every other query; the rest are asked here.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from shmperf.rag.toolstore import Embedder

from .catalogue import Catalogue, read_catalogue
from .choosing import BUDGET_S, POLICIES, Outcome, Plan, choose
from .embedding import MiniLM
from .measure import Row, environment, private_place
from .ragcost import collector_share, queries_per_second, time_to_store
from .report import table

__all__ = ["main", "outcomes", "summed"]

Outcomes = dict[str, list[Outcome]]

_LESS = 150
_COLUMNS: Mapping[str, tuple[str, float, str]] = {
    "success": ("task success", 100, "{:.1f} %"),
    "wrong_tool": ("wrong tool", 100, "{:.1f} %"),
    "seconds_per_success": ("per success", 1000, "{:.2f} ms"),
    "wasted_per_break": ("wasted per break", 1, "{:.1f} queries"),
    "recovered": ("recovered", 100, "{:.0f} %"),
    "choosing_s": ("choosing takes", 1000, "{:.1f} ms"),
}


def main() -> int:
    """Measure, print tables and what is synthetic in them, write the figures."""
    given = _arguments()
    began_s = time.monotonic()
    console = Console(width=None if sys.stdout.isatty() else 140)
    env = environment()
    console.print(", ".join(f"{key} {value}" for key, value in env.items()), style="dim")
    catalogue, plan, seeds = read_catalogue(), Plan(), given.seeds
    if given.quick:
        catalogue = _some(catalogue)
        plan = Plan(warm=3, kinds=25, queries=80, breaks=6)
        seeds = min(seeds, 2)
    catalogue = Catalogue(catalogue.tools, catalogue.queries[1::2])
    embedder = MiniLM()
    _say(f"embedding {len(catalogue.tools):,} tools and {len(catalogue.queries):,} queries …")
    embedder([tool.content for tool in catalogue.tools])
    embedder([query.text for query in catalogue.queries])
    found = outcomes(catalogue, embedder, plan, seeds)
    for line in _made_of(catalogue, plan, seeds):
        console.print(line)
    console.print(_table(found, seeds))
    console.print(_compared(found))
    rows: list[Row] = []
    for name, measured in (
        ("time to the store", time_to_store),
        ("queries", queries_per_second),
        ("collector", collector_share),
    ):
        _say(f"measuring {name} …")
        rows += measured(quick=given.quick)
    console.print(table("cost", rows))
    console.print(f"{time.monotonic() - began_s:.0f} s in all", style="dim")
    if given.json:
        report = {
            "env": env,
            "plan": plan._asdict() | {"seeds": seeds, "tools": len(catalogue.tools)},
            "policies": {name: msgspec.to_builtins(each) for name, each in found.items()},
            "rows": [row.as_dict() for row in rows],
        }
        Path(given.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def outcomes(catalogue: Catalogue, embedder: Embedder, plan: Plan, seeds: int) -> Outcomes:
    """Every policy's outcomes, one for each seed."""
    found: Outcomes = {name: [] for name in POLICIES}
    for seed in range(seeds):
        _say(f"world {seed + 1} of {seeds} …")
        with private_place() as where:
            for name, outcome in choose(catalogue, embedder, plan, seed, where).items():
                found[name].append(outcome)
    return found


def summed(found: Sequence[Outcome]) -> dict[str, tuple[float, float, float]]:
    """Mean, least and greatest of each figure over the seeds."""
    figures = {}
    for key in Outcome.__struct_fields__:
        values = [float(getattr(one, key)) for one in found]
        figures[key] = (statistics.fmean(values), min(values), max(values))
    return figures


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.rag", description="Tools chosen by what was measured of them."
    )
    parser.add_argument("--quick", action="store_true", help="less of everything, half a minute")
    parser.add_argument("--seeds", type=int, default=5, metavar="N", help="worlds (5)")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    return parser.parse_args()


def _some(catalogue: Catalogue) -> Catalogue:
    """Part of the catalogue: tools of the first queries, and others to be confused with."""
    queries = catalogue.queries[:: len(catalogue.queries) // _LESS]
    wanted = {query.tool for query in queries}
    others = [tool for tool in catalogue.tools if tool.name not in wanted]
    tools = [tool for tool in catalogue.tools if tool.name in wanted] + others[:_LESS]
    return Catalogue(tools, queries)


def _made_of(catalogue: Catalogue, plan: Plan, seeds: int) -> list[str]:
    tools, queries = len(catalogue.tools), len(catalogue.queries)
    real = (
        f"real:      {tools:,} tools and {queries:,} queries of bfcl-eval (one right tool each,"
        f" though others may do the same), embedded by {MiniLM.name}; calls in 3 processes, their"
        " durations, exceptions and statistics"
    )
    synthetic = (
        "synthetic: 3 providers a tool, 2 to 100 pieces of work of about 50 µs each, failing in"
        f" 0–5 % of calls or (3 of 10) in 20–70 %; {plan.queries} queries of {plan.kinds} kinds,"
        f" some more frequent; the favourites of {plan.breaks} break half-way"
    )
    begun = (
        f"each provider was called {plan.warm} times before; latency budget {BUDGET_S * 1000:g} ms;"
        f" mean (least to greatest) of {seeds} seeds"
    )
    return [real, synthetic, begun]


def _table(found: Outcomes, seeds: int) -> Table:
    shown = Table(title=f"policies, {seeds} seeds", box=box.SIMPLE_HEAD, title_justify="left")
    shown.add_column("")
    for title, _, _ in _COLUMNS.values():
        shown.add_column(title, justify="right")
    for name, each in found.items():
        figures = summed(each)
        shown.add_row(name, *(_cell(*figures[key], *_COLUMNS[key][1:]) for key in _COLUMNS))
    lost = sum(one.lost for each in found.values() for one in each)
    shown.caption = f"{lost} calls lost by the statistics"
    return shown


def _cell(mean: float, least: float, most: float, scale: float, form: str) -> str:
    low, high = (form.format(scale * value).split()[0] for value in (least, most))
    return f"{form.format(scale * mean)}\n({low} to {high})"


def _compared(found: Mapping[str, Sequence[Outcome]]) -> str:
    """Expected utility against similarity alone, seed by seed."""
    pairs = list(zip(found["expected utility"], found["similarity alone"], strict=True))
    gains = [100 * (ours.success - theirs.success) for ours, theirs in pairs]
    ratios = [ours.seconds_per_success / theirs.seconds_per_success for ours, theirs in pairs]
    return (
        f"expected utility against similarity alone, seed by seed: task success"
        f" {statistics.fmean(gains):+.1f} points ({min(gains):+.1f} to {max(gains):+.1f}),"
        f" seconds per success × {statistics.fmean(ratios):.2f}"
        f" ({min(ratios):.2f} to {max(ratios):.2f})"
    )


def _say(text: Any) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
