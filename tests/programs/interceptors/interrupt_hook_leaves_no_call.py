import shmperf
from shmperf.interceptors import (
    InterceptorPriority,
    ToolInterceptor,
    get_global_interceptor_chain,
    intercept_tool_call,
)


class Interrupting(ToolInterceptor):
    hook = ""

    def before_execution(self, name, args, kwargs, context):
        if self.hook == "before":
            raise KeyboardInterrupt
        return context

    def after_execution(self, name, result, context):
        if self.hook == "after":
            raise KeyboardInterrupt
        return result


part = Interrupting(InterceptorPriority.LAST)
get_global_interceptor_chain().add_interceptor(part)
for part.hook in ("before", "after"):
    try:
        intercept_tool_call("tool", int)
    except KeyboardInterrupt:
        pass
    else:
        raise SystemExit("it did not pass")
found = shmperf.get_perf_stats()
assert found["in_flight"] == 0 and found["begun"] == 2, found
