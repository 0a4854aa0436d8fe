"""
``python -m bench [SECTION …] [--quick] [--json FILE]``: measure, print a table, write the figures.

Exits 0 whether targets are met or not: a shared machine's figures are for people to judge.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from .collector import drain, idle, latency, memory
from .integrations import integrations
from .measure import Row, environment
from .overhead import overhead
from .startup import startup

_SECTIONS: dict[str, Callable[..., list[Row]]] = {
    "overhead": overhead,
    "drain": drain,
    "idle": idle,
    "latency": latency,
    "startup": startup,
    "memory": memory,
    "integrations": integrations,
}


def main() -> int:
    """Run the sections asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", choices=[*_SECTIONS, []], metavar="SECTION")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, under a minute")
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 110)
    env = environment()
    console.print(", ".join(f"{key} {value}" for key, value in env.items()), style="dim")
    rows: list[Row] = []
    for name in given.sections or _SECTIONS:
        found = _SECTIONS[name](quick=given.quick)
        console.print(_table(name, found))
        rows += found
    if given.json:
        report = {"env": env, "rows": [row.as_dict() for row in rows]}
        Path(given.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _table(title: str, rows: list[Row]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
    for column in ("", "median", "least … greatest", "target", "met"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows:
        spread = "" if row.low is None or row.high is None else f"{row.low:.3g} … {row.high:.3g}"
        sign = "≥" if row.at_least else "≤"
        target = "" if row.target is None else f"{sign} {row.target:,g}"
        met = {True: "yes", False: "no", None: ""}[row.met]
        table.add_row(row.name, f"{_figure(row.value)} {row.unit}", spread, target, met)
    return table


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
