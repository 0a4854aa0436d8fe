from shmperf.interceptors import (
    InterceptorPriority,
    ToolInterceptor,
    get_global_interceptor_chain,
    intercept_tool_call,
)


class Exchanging(ToolInterceptor):
    def before_execution(self, *_):
        return {}


get_global_interceptor_chain().add_interceptor(Exchanging())
get_global_interceptor_chain().add_interceptor(Exchanging(InterceptorPriority.FIRST))
assert intercept_tool_call("tool", len, ("abc",)) == 3
