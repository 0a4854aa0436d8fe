import os
import sys

from shmperf.rag import ToolStore

store = ToolStore(sys.argv[1])
store.put("a", "a", "a")
child = os.fork()
if child == 0:
    store.put("b", "b", "b")
    os._exit(0 if len(store) == 2 else 1)
assert os.waitpid(child, 0)[1] == 0
store.put("c", "c", "c")
assert len(store) == 3
