"""A program that makes up names without end has a bounded number of tools."""

import sys

from shmperf.worker.process import tool_named, worker

most = 1 << 16
for n in range(most):
    tool_named(f"job {n}")
one, other = tool_named("one more"), tool_named("and another")
assert one is other
assert one.name == "tools beyond 60000", one.name
assert tool_named("job 17").name == "job 17"
limits = {"with a limit": 0}
worker.options = type(worker.options)(tool_limits=limits)
assert tool_named("with a limit").name == "with a limit"
assert sys.modules["shmperf.analysis.names"]
