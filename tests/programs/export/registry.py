import multiprocessing

from prometheus_client import CollectorRegistry

import shmperf
from shmperf.exporters.prometheus import collector


@shmperf.track
def tool(n):
    return n


if __name__ == "__main__":
    registry = CollectorRegistry()
    registry.register(collector())
    tool(0)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(tool, range(11))
    shmperf.flush()
    value = registry.get_sample_value("shmperf_calls_total", {"gen_ai_tool_name": "tool"})
    print("shmperf_calls_total", value)
