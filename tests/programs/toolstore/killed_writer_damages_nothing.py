import os
import sys

from shmperf.rag import NewArtifact, ToolStore

store = ToolStore(sys.argv[1])
while True:
    name = os.urandom(8).hex()
    store.put_many(NewArtifact(f"{name}-{n}", name, "x", embedding=[1.0, 0.5]) for n in range(7))
