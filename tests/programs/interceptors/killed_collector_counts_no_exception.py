import sys

from shmperf.interceptors import intercept_tool_call


def fail(n):
    raise ValueError(n)


for line in sys.stdin:
    for n in range(200):
        try:
            intercept_tool_call("fail", fail, (n,))
        except ValueError:
            pass
    print("done", flush=True)
