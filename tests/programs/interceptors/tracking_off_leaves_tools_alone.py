from shmperf.interceptors import get_global_interceptor_chain, intercept_tool_call

assert intercept_tool_call("tool", len, ("abc",)) == 3
try:
    intercept_tool_call("tool", len)
except TypeError:
    pass
assert not get_global_interceptor_chain().interceptors[2].enabled
