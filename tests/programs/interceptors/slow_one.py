"""Twenty calls that take alike, then one that does not; with an argument two more on demand."""

import sys
import time

from shmperf.interceptors import intercept_tool_call


def tool(seconds):
    time.sleep(seconds)


for _ in range(20):
    intercept_tool_call("tool", tool, (0.002,))
intercept_tool_call("tool", tool, (0.1,))
if sys.argv[1:]:
    print("slow", flush=True)
    sys.stdin.readline()
    for _ in range(2):
        intercept_tool_call("tool", tool, (1.1,))
