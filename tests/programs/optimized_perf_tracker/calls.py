"""What the programs beside it share."""

from shmperf.errors import ConfigError
from shmperf.optimized_perf_tracker import end_tool_call, track_tool_call


def call(tool, count=1, **params):
    """So many calls of *tool*."""
    for n in range(count):
        end_tool_call(track_tool_call(tool, {"n": n, **params}))


def refused(assign):
    """What the error says that *assign* raises."""
    try:
        assign()
    except ConfigError as error:
        return str(error)
    raise AssertionError("it was taken")
