import multiprocessing

import shmperf
from shmperf.interceptors import (
    ToolInterceptor,
    get_global_interceptor_chain,
    intercept_tool_call,
)


class Failing(ToolInterceptor):
    def before_execution(self, *_):
        raise LookupError


get_global_interceptor_chain().add_interceptor(Failing())


def tool(n):
    if n % 3 == 0:
        raise ValueError(n)
    return n


def run(n):
    try:
        return intercept_tool_call("tool", tool, (n,))
    except ValueError:
        return None


if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert sum(x is None for x in pool.map(run, range(300))) == 100
    shmperf.flush()
