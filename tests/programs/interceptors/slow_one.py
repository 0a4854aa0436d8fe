import time

from shmperf.interceptors import intercept_tool_call


def tool(seconds):
    time.sleep(seconds)


for _ in range(20):
    intercept_tool_call("tool", tool, (0.002,))
intercept_tool_call("tool", tool, (0.1,))
