"""
From which rate on a worker outruns its collector, over few tools and over many.

Each rate goes on for a while, in a program of its own whose collector has come up. Bursts of a
millisecond: who waits longer between them needs rings that hold more.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from .measure import Row, private_place, run_program

__all__ = ["outrun"]

_TOOLS = (1, 10, 100)
_RATES = (25_000, 50_000, 100_000, 200_000, 400_000, 800_000)
# More than any can make: as fast as it goes.
_FLAT_OUT = 100_000_000


def outrun(*, quick: bool) -> list[Row]:
    """The rows."""
    seconds, rates = (1.0, _RATES[1:4]) if quick else (3.0, _RATES)
    rows = []
    with private_place() as (cwd, environ):
        for tools in _TOOLS:
            who = f"one worker, {tools} tool{'s' * (tools > 1)}"
            rows.append(_highest(who, tools, rates, seconds, cwd, environ))
            made, lost = _found(tools, _FLAT_OUT, seconds, cwd, environ)
            rows.append(Row(name=f"{who}, flat out: made", value=made / seconds, unit="calls/s"))
            share = lost / made * 100
            rows.append(Row(name=f"{who}, flat out: lost", value=share, unit="%"))
    return rows


def _highest(
    who: str,
    tools: int,
    rates: tuple[int, ...],
    seconds: float,
    cwd: Path,
    environ: Mapping[str, str],
) -> Row:
    """The highest of *rates* that it has reached without a loss; 0 for none."""
    highest = 0.0
    for rate in rates:
        made, lost = _found(tools, rate, seconds, cwd, environ)
        if lost or made < rate * seconds * 0.95:
            break
        highest = rate
    return Row(name=f"{who}: highest rate without a loss", value=highest, unit="calls/s")


def _found(
    tools: int, rate: int, seconds: float, cwd: Path, environ: Mapping[str, str]
) -> tuple[int, int]:
    """How many calls were made, and how many of them were lost."""
    printed = json.loads(run_program("outrun", cwd, environ, tools, rate, seconds))
    return printed["made"], printed["lost"]
