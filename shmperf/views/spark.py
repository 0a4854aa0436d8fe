"""Small pictures in a line of text: a course of values, and a share of a whole."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["bar", "spark"]

_LEVELS = "▁▂▃▄▅▆▇█"
_EIGHTHS = " ▏▎▍▌▋▊▉"


def spark(values: Sequence[float], width: int) -> str:
    """The last *width* of *values*, each as high as it is of the greatest; nothing is a blank."""
    last = values[-width:]
    most = max(last, default=0.0)
    if most <= 0:
        return " " * width
    shown = "".join(
        " " if value <= 0 else _LEVELS[min(7, int(value / most * 7.999))] for value in last
    )
    return shown.rjust(width)


def bar(share: float, width: int) -> str:
    """A share (0 to 1) as a bar of *width* cells; what is there at all is seen."""
    eighths = min(width * 8, max(int(share > 0), round(share * width * 8)))
    whole, rest = divmod(eighths, 8)
    return ("█" * whole + (_EIGHTHS[rest] if rest else "")).ljust(width)
