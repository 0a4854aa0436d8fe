"""
What is said of a tool's performance where it takes part in an embedding.

Two figures, coarse enough that a tool which goes on as it was keeps its sentence. The sentence
itself is stored beside the embedding, and is what a later summary is compared with.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

__all__ = ["has_changed", "tell_performance"]

# Below these a new figure is noise: half as long again, or five calls of a hundred.
_RATIO = 1.5
_POINTS = 5
_FIGURES = re.compile(r"Usually takes ([0-9.]+) ms\. Succeeds in ([0-9]+) of 100 calls\.")


def tell_performance(summary: Mapping[str, object]) -> str | None:
    """A sentence about the tool; None when no call has finished yet."""
    figures = _figures(summary)
    if figures is None:
        return None
    duration_ms, successes = figures
    return f"Usually takes {duration_ms:.3f} ms. Succeeds in {successes} of 100 calls."


def has_changed(told: str | None, summary: Mapping[str, object]) -> bool:
    """True when *summary* would tell something materially different from *told*."""
    figures = _figures(summary)
    before = _FIGURES.fullmatch(told or "")
    if figures is None or before is None:
        return figures is not None or before is not None
    duration_ms, successes = figures
    known_ms = float(before[1])
    longer, shorter = max(duration_ms, known_ms), min(duration_ms, known_ms)
    return longer > shorter * _RATIO or abs(successes - int(before[2])) >= _POINTS


def _figures(summary: Mapping[str, object]) -> tuple[float, int] | None:
    duration_ms, rate = summary.get("p50_ms"), summary.get("error_rate")
    if not isinstance(duration_ms, int | float) or not isinstance(rate, int | float):
        return None
    if not math.isfinite(duration_ms) or not math.isfinite(rate):
        return None
    return max(float(duration_ms), 0.001), round(100 * (1 - min(max(rate, 0.0), 1.0)))
