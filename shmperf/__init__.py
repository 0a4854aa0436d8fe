"""shmperf records every tool call in many processes, at about a microsecond each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .integrations.registry import instrument, uninstrument
    from .worker.adoption import adopt, propagate
    from .worker.api import (
        annotate,
        cleanup_perf_data,
        end_tool_call,
        flush,
        get_perf_stats,
        get_tracker,
        optimize,
        set_optimization_mode,
        track_tool_call,
    )
    from .worker.classes import track_class
    from .worker.context import current
    from .worker.outgoing import traceparent
    from .worker.wrappers import call, track

__all__ = [
    "adopt",
    "annotate",
    "call",
    "cleanup_perf_data",
    "current",
    "end_tool_call",
    "flush",
    "get_perf_stats",
    "get_tracker",
    "instrument",
    "optimize",
    "propagate",
    "set_optimization_mode",
    "traceparent",
    "track",
    "track_class",
    "track_tool_call",
    "uninstrument",
]

# Where each name is at home; it is imported when it is first asked for, so that whoever imports one
# module of ours (the pytest plugin, a command) does not pay for what runs in a tracked program.
_HOMES = {
    "worker.api": (
        "annotate",
        "cleanup_perf_data",
        "end_tool_call",
        "flush",
        "get_perf_stats",
        "get_tracker",
        "optimize",
        "set_optimization_mode",
        "track_tool_call",
    ),
    "worker.wrappers": ("call", "track"),
    "worker.classes": ("track_class",),
    "worker.adoption": ("adopt", "propagate"),
    "worker.context": ("current",),
    "worker.outgoing": ("traceparent",),
    "integrations.registry": ("instrument", "uninstrument"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
# What runs in a tracked program comes as a whole: later on, imports may be refused there.
_TOGETHER = [home for home in _HOMES if home.startswith("worker.")]


def __getattr__(name: str) -> object:
    """Import a public name from where it is at home, once."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    for other in _TOGETHER if home in _TOGETHER else (home,):
        module = importlib.import_module(f"{__name__}.{other}")
        globals().update((each, getattr(module, each)) for each in _HOMES[other])
    found: object = globals()[name]
    return found


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})
