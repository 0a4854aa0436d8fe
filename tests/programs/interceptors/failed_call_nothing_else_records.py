import time

from shmperf.interceptors import BugCatcherInterceptor, InterceptorChain

chain = InterceptorChain()
chain.add_interceptor(BugCatcherInterceptor())


def tool(seconds):
    time.sleep(seconds)
    if seconds:
        raise ValueError("late")


chain.intercept_tool_call("tool", tool, (0,))
try:
    chain.intercept_tool_call("tool", tool, (0.01,))
except ValueError:
    pass
