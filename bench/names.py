"""
Many tools in one process: what a first call costs, when all is on disk, what statistics cost.

Each tool is called once, so this is the worst for everything that is a tool's own: its name, its
ring, its totals, its file. What grows faster than the number of tools shows from row to row.
"""

from __future__ import annotations

import time

from .measure import Row, private_place, row_of, run_program, run_python

__all__ = ["names"]

_TOOLS = (1_000, 5_000, 20_000)
_STATS = "import sys; from shmperf.commands.main import main; sys.exit(main(['stats']))"


def names(*, quick: bool) -> list[Row]:
    """The rows."""
    rounds = 1 if quick else 3
    return [row for tools in _TOOLS for row in _rows(tools, rounds)]


def _rows(tools: int, rounds: int) -> list[Row]:
    first: list[float] = []
    written: list[float] = []
    answered: list[float] = []
    shown: list[float] = []
    lost: list[float] = []
    missing: list[float] = []
    for _ in range(rounds):
        with private_place() as (cwd, environ):
            figures = map(float, run_program("many_names", cwd, environ, tools).split())
            for series, figure in zip((first, written, answered, lost), figures, strict=True):
                series.append(figure)
            missing.append(tools - len(list((cwd / "perf_data").glob("*_perf.jsonl"))))
            start = time.perf_counter()
            run_python(_STATS, cwd, environ)
            shown.append(time.perf_counter() - start)
    title = f"{tools:,} tools, a call each"
    return [
        row_of(f"{title}: first call", first, "µs"),
        row_of(f"{title}: all on disk after", written, "s"),
        row_of(f"{title}: get_perf_stats()", [s * 1e6 / tools for s in answered], "µs/tool"),
        row_of(f"{title}: shmperf stats", [s * 1e6 / tools for s in shown], "µs/tool"),
        row_of(f"{title}: lost, or without a file", [sum(lost) + sum(missing)], "", target=0),
    ]
