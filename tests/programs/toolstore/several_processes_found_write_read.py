import sys

from shmperf.rag import ToolStore

path, who = sys.argv[1:]
with ToolStore(path) as store:
    for number in range(50):
        name = f"{who}-{number}"
        store.put(name, name, "text of a tool", embedding=[1.0, float(number)])
        store.update_perf({name: {"call_count": number}})
        store.search("tool")
        store.search([1.0, 1.0])
