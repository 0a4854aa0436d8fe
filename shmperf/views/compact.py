"""
Answers in few bytes: JSON that stands within a page, without what nobody sees.

    numbers      six significant figures; times to the microsecond
    texts        parameters, messages and sentences are cut; names never, since they are addresses
    histograms   a bucket for each bar that the page draws
    stories      calls without what each has by default, which the page puts back (embedded.js)

Keys have a meaning here, ``params`` that of parameters; where a dictionary is by the names of tools
they have none, whatever a tool is called.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from math import isfinite
from typing import Any

__all__ = ["encoded", "lean", "shortened", "without_parameters"]

_LONGEST_TEXT = 2_000
_DIGITS = 6
# Above that a number is a time, whose microseconds are told.
_A_TIME = 1e8
# Of a histogram's buckets as many as the page has in a bar.
_BUCKETS = 4
# Of a story's duration: a gap that is no wider than a pixel.
_LEAST_GAP = 1 / 500
# What the page knows without being told, of a call in a story.
_DEFAULTS: dict[str, Any] = {
    "status": "ok",
    "gaps": [],
    "children": [],
    **dict.fromkeys(("parent", "err", "params", "pid")),
}
# Dictionaries by the names of tools, or of whatever else.
_BY_NAME = frozenset({"tool_stats", "tools", "nameless", "learning", "sampling", "lost", "faults"})
# What holds parameters, or messages that may: in calls, error groups, evidence.
_WITH_PARAMETERS = frozenset({"params", "error", "sample", "sample_of", "metadata"})
# In the text of an alert on a call that was stuck.
_QUOTED = ", called with "


def encoded(value: Any) -> str:
    """*value* as JSON that may stand within an HTML page's script element, whatever it holds."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    # What is not ASCII is escaped already; so is every lone surrogate.
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def shortened(value: Any) -> Any:
    """*value*, as JSON has it, with figures and texts as the page shows them."""
    if isinstance(value, float):
        return _rounded(value)
    if isinstance(value, list):
        return [shortened(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {
        key: _by_name(one, shortened) if key in _BY_NAME else _OTHERWISE.get(key, shortened)(one)
        for key, one in value.items()
    }


def without_parameters(value: Any) -> Any:
    """*value* without parameters, and without messages and sentences that may quote them."""
    if isinstance(value, list):
        return [without_parameters(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {
        key: None if key in _WITH_PARAMETERS else without_parameters(one)
        for key, one in value.items()
        if key not in _BY_NAME
    }
    found |= {
        key: _by_name(one, without_parameters) for key, one in value.items() if key in _BY_NAME
    }
    if "evidence" in found:
        found["text"] = str(found.get("text")).partition(_QUOTED)[0]
    return found


def lean(call: dict[str, Any]) -> dict[str, Any]:
    """A story's topmost call, and those below, without what each has by default."""
    return _lean(call, (call["duration_s"] or 0.0) * _LEAST_GAP)


def _lean(call: dict[str, Any], least_s: float) -> dict[str, Any]:
    wide = [gap for gap in call["gaps"] if gap["duration_s"] >= least_s]
    told = {
        key: one
        for key, one in (call | {"gaps": wide}).items()
        if key not in _DEFAULTS or one != _DEFAULTS[key]
    }
    if call["children"]:
        # Whose they are the page sees.
        below = (child | {"parent": None} for child in call["children"])
        told["children"] = [_lean(child, least_s) for child in below]
    return told


def _by_name(value: Any, each: Callable[[Any], Any]) -> Any:
    if not isinstance(value, dict):
        return each(value)
    return {name: each(one) for name, one in value.items()}


def _merged(histogram: Any) -> Any:
    if not isinstance(histogram, dict):
        return shortened(histogram)
    merged: Counter[int] = Counter()
    for bucket, count in histogram.items():
        merged[int(bucket) // _BUCKETS * _BUCKETS] += count
    return dict(merged)


def _cut(text: Any) -> Any:
    if not isinstance(text, str):
        return shortened(text)
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


_OTHERWISE: dict[str, Callable[[Any], Any]] = {
    "histogram": _merged,
    **dict.fromkeys(("params", "error", "sample", "text", "where"), _cut),
}


def _rounded(value: float) -> float | None:
    if not isfinite(value):
        return None
    if abs(value) >= _A_TIME:
        return round(value, _DIGITS)
    return float(f"{value:.{_DIGITS}g}")
