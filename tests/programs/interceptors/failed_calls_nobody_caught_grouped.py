import shmperf
from shmperf.interceptors import intercept_tool_call


@shmperf.track
def plain():
    raise LookupError("plain")


for call in (plain, plain, lambda: intercept_tool_call("tool", int, ("x",))):
    try:
        call()
    except (LookupError, ValueError):
        pass
