"""
Statistics where nobody can be asked and no reader be imported: zeros, in the shape of all others.

A program that has changed its root, dropped its privileges, used up its descriptors or forbidden
imports may still ask. The module that owns the shape takes longer to import than all that records,
so it is written out here; a test holds the two equal.
"""

from __future__ import annotations

from typing import Any

__all__ = ["zeros"]

_OF_A_TOOL = ("count", "errors", "aborted", "sampled_out", "current_size", "max_size", "in_flight")
_UNKNOWN = (
    "avg_duration_s",
    "min_duration_s",
    "max_duration_s",
    "p50_s",
    "p95_s",
    "p99_s",
    "last_updated",
)
_OF_ALL = ("total_calls", "tools_tracked", "begun", "in_flight", "aborted", "workers")


def zeros(tool: str | None, mode: str) -> dict[str, Any]:
    """What `get_perf_stats` answers then; ``complete`` only where tracking is off by its *mode*."""
    complete = mode == "off"
    if tool is not None:
        return {
            "tool": str(tool),
            **dict.fromkeys(_OF_A_TOOL, 0),
            **dict.fromkeys(_UNKNOWN),
            "complete": complete,
            "histogram": {},
            "estimated": False,
        }
    return {
        **dict.fromkeys(_OF_ALL, 0),
        "mode": mode,
        "complete": complete,
        "tool_stats": {},
        "lost": {},
        "faults": {},
        "nameless": {},
        "varying": [],
        "unattached": {"workers": 0, "calls": 0, "reason": ""},
    }
