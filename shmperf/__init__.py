"""shmperf records every tool call in many processes, at about a microsecond each."""

from .classes import track_class
from .instrumentation import instrument, uninstrument
from .parents import adopt, current, propagate
from .tracker import (
    annotate,
    cleanup_perf_data,
    end_tool_call,
    flush,
    get_perf_stats,
    get_tracker,
    set_optimization_mode,
    track_tool_call,
)
from .wrappers import call, track

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
    "propagate",
    "set_optimization_mode",
    "track",
    "track_class",
    "track_tool_call",
    "uninstrument",
]
