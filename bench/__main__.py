"""
``python -m bench [SECTION …]``: measure, print tables, write figures, chart and README.

Exits 0 whether targets are met or not: a shared machine's figures are for people to judge.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console

from .alerts import alerts
from .drain import drain
from .everyday import everyday
from .exports import exports
from .history import history
from .idle import idle
from .integrations import integrations
from .interceptors import interceptors
from .latency import latency
from .measure import Row, environment
from .memory import memory
from .names import names
from .outrun import outrun
from .overhead import overhead
from .paths import paths
from .publishing import publishing
from .pytest_plugin import pytest_plugin
from .relative import relative
from .report import chart, readme, table
from .sampling import sampling
from .scale import scale
from .startup import startup
from .storing import storing
from .views import views

_SECTIONS: dict[str, Callable[..., list[Row]]] = {
    "overhead": overhead,
    "paths": paths,
    "interceptors": interceptors,
    "relative": relative,
    "scale": scale,
    "outrun": outrun,
    "drain": drain,
    "idle": idle,
    "everyday": everyday,
    "latency": latency,
    "startup": startup,
    "memory": memory,
    "names": names,
    "pytest": pytest_plugin,
    "integrations": integrations,
    "alerts": alerts,
    "history": history,
    "exports": exports,
    "publishing": publishing,
    "storing": storing,
    "sampling": sampling,
    "views": views,
}


def main() -> int:
    """Run the sections asked for."""
    given = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 140)
    env = (
        environment() if given.sections or not given.earlier else _environment_of(given.earlier[0])
    )
    console.print(", ".join(f"{key} {value}" for key, value in env.items()), style="dim")
    console.print("medians of interleaved rounds; spread: their middle half", style="dim")
    rows = [row for path in given.earlier for row in _earlier(Path(path))]
    for name in given.sections or ([] if rows else _in_half(given.half)):
        print(f"measuring {name} …", file=sys.stderr)
        begun_s = time.monotonic()
        found = _SECTIONS[name](quick=given.quick)
        print(f"{name} took {time.monotonic() - begun_s:.0f} s", file=sys.stderr)
        for row in found:
            row.section = name
        console.print(table(name, found))
        rows += found
    if given.json:
        report = {"env": env, "rows": [row.as_dict() for row in rows]}
        Path(given.json).write_text(json.dumps(report, indent=2) + "\n")
    if given.svg:
        chart(Path(given.svg), env, rows)
    if given.readme:
        readme(Path(given.readme), env, rows)
    return 0


def _in_half(half: int | None) -> list[str]:
    """All sections, or every other one: two processes measure them in less time, and worse."""
    return list(_SECTIONS)[half - 1 :: 2] if half else list(_SECTIONS)


def _environment_of(path: str) -> dict[str, str]:
    """Where and when a run before this one was made."""
    return msgspec.convert(json.loads(Path(path).read_bytes())["env"], dict[str, str])


def _earlier(path: Path) -> list[Row]:
    """The rows that a run before this one wrote."""
    return msgspec.convert(json.loads(path.read_bytes())["rows"], list[Row])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"sections: {', '.join(_SECTIONS)}; all when none is named",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("sections", nargs="*", metavar="SECTION", help="measure only these")
    parser.add_argument("--quick", action="store_true", help="fewer rounds, some minutes")
    parser.add_argument(
        "--half", type=int, choices=(1, 2), help="every other section, for two runs at once"
    )
    parser.add_argument(
        "--with",
        dest="earlier",
        action="append",
        default=[],
        metavar="FILE",
        help="add the figures of an earlier run's --json; alone, measure nothing",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures there")
    parser.add_argument("--svg", metavar="FILE", help="draw the overhead there")
    parser.add_argument("--readme", metavar="FILE", help="write the table into that README")
    given = parser.parse_args()
    for name in given.sections:
        if name not in _SECTIONS:
            parser.error(f"no section {name!r}: {', '.join(_SECTIONS)}")
    if given.svg and not given.earlier and given.sections and "overhead" not in given.sections:
        parser.error("--svg draws the section overhead: name it too")
    return given


if __name__ == "__main__":
    sys.exit(main())
