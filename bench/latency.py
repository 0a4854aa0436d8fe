"""How long after its end a call is visible in the statistics: idle, and with all cores busy."""

from __future__ import annotations

import json
import statistics

from .measure import Row, private_place, run_program

__all__ = ["latency"]

_TARGET_MS = 50


def latency(*, quick: bool) -> list[Row]:
    """From the end of a call to statistics that count it."""
    rounds = 60 if quick else 300
    return [
        *_rows("idle", rounds, 0, _TARGET_MS),
        *_rows("two workers flat out beside it", rounds, 2),
    ]


def _rows(where: str, rounds: int, workers: int, target: float | None = None) -> list[Row]:
    with private_place() as (cwd, environ):
        printed = run_program("counted_after", cwd, environ, rounds, workers)
    figures: list[float] = json.loads(printed)
    percentiles = statistics.quantiles(figures, n=100, method="inclusive")
    named = {"p50": percentiles[49], "p99": percentiles[98], "max": max(figures)}
    return [
        Row(
            name=f"end of a call → counted, {where}, {name}",
            value=value,
            unit="ms",
            rounds=len(figures),
            target=target if name == "p99" else None,
        )
        for name, value in named.items()
    ]
