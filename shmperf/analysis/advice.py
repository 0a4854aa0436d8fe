"""
What the calls of a run advise to change: each piece with its evidence, and what it would save.

Pure: from an `Evidence` of a run that is over to pieces of advice. First those that remove work or
trouble, by what they save; then those that only point to where time goes, in the order of the
table. Every kind says how it is computed where it is computed:

    cache flaky      `repeats`      calls with equal parameters
    batch parallel   `sequences`    calls below one call, by their intervals
    timeout memory   `outliers`     calls that stand out, processes that grow
    the others       `pointers`     where time goes, and what of recording itself

Why not one list by what is saved: half of a hot spot's time is what somebody might save who finds
out how, a repeated call's time is saved by a line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .evidence import Advice, Evidence
from .outliers import memory, timeout
from .pointers import hotspot, limit, sample, wait
from .repeats import cache, flaky
from .sequences import batch, parallel

__all__ = ["MOST_OF_A_KIND", "Advice", "Evidence", "advise"]

# Who has done these asks again.
MOST_OF_A_KIND = 5

Adviser = Callable[[Evidence], Iterable[Advice]]
_REMOVING: tuple[Adviser, ...] = (cache, batch, parallel, timeout, flaky, memory)
_POINTING: tuple[Adviser, ...] = (hotspot, wait, limit, sample)


def advise(evidence: Evidence) -> list[Advice]:
    """What *evidence* advises; nothing where it is not enough."""
    removing = [piece for adviser in _REMOVING for piece in _first(adviser(evidence))]
    pointing = [piece for adviser in _POINTING for piece in _first(adviser(evidence))]
    return [*sorted(removing, key=_order), *pointing]


def _first(pieces: Iterable[Advice]) -> list[Advice]:
    return sorted(pieces, key=_order)[:MOST_OF_A_KIND]


def _order(piece: Advice) -> tuple[float, str]:
    """By what is saved, the most first; what can't be told behind."""
    return -(piece.saves_s or 0.0), piece.tool
