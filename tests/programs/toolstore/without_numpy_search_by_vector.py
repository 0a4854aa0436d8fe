import sys

sys.modules["numpy"] = None
from shmperf.errors import StoreError
from shmperf.rag import ToolStore

store = ToolStore(sys.argv[1])
store.put("a", "a", "some text", embedding=[1.0, 0.0])
store.update_perf({"a": {"call_count": 1}})
print(len(store.search("text")))
try:
    store.search([1.0, 0.0])
except StoreError as error:
    print(error)
