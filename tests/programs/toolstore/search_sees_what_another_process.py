import sys

from shmperf.rag import ToolStore

with ToolStore(sys.argv[1]) as store:
    store.put("b", "b", "b", embedding=[1.0, 0.1])
    store.update_perf({"a": {"call_count": 1}})
