import subprocess
import sys

from calls import call

from shmperf.optimized_perf_tracker import OptimizedPerfTracker

call("tool", 50)
tracker = OptimizedPerfTracker()
call("tool", 3)
assert tracker.get_tool_stats("tool")["count"] == 3
subprocess.run([sys.executable, "-m", "shmperf", "cleanup"], check=True, stdout=subprocess.DEVNULL)
assert tracker.get_tool_stats("tool")["count"] == 0
call("tool", 4)
assert tracker.get_tool_stats("tool")["count"] == 4
assert tracker.get_all_stats()["begun"] == 4
