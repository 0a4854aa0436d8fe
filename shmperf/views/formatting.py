"""How durations and foreign text are written for people, wherever they are shown."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["chain", "duration", "printable", "size"]

# What of a chain of callers has a place in a line.
_LONGEST_CALLER, _MOST_CALLERS = 30, 5
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Three figures of it are a whole.
_ROUNDED_UP = 0.9995


def duration(seconds: float | None) -> str:
    """A duration as people say it; three significant figures."""
    if seconds is None:
        return "–"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        # What is rounded up to a thousand is one of the next unit.
        if seconds >= scale * _ROUNDED_UP:
            few = seconds < 1000 * _ROUNDED_UP
            return f"{seconds / scale:.3g} {unit}" if few else f"{seconds:,.0f} s"
    return f"{seconds * 1e9:.0f} ns"


def size(count: int) -> str:
    """So many bytes as people say it."""
    for unit, scale in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.1f} {unit}"
    return f"{count} bytes"


def printable(text: object, longest: int = 0) -> str:
    """*text* with control characters shown as escapes, cut at *longest* characters."""
    shown = _CONTROL.sub(lambda found: ascii(found.group())[1:-1], str(text))
    return shown[: longest - 1] + "…" if longest and len(shown) > longest else shown


def chain(names: Sequence[str]) -> str:
    """Callers, the outermost first; of a long chain the two ends."""
    shown = [printable(name, _LONGEST_CALLER) for name in names]
    if len(shown) > _MOST_CALLERS:
        shown[1 : 1 - _MOST_CALLERS] = ["…"]
    return " → ".join(shown) or "–"
