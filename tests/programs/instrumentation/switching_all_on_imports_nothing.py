import sys

import shmperf

before = set(sys.modules)
names = shmperf.instrument()
assert {"multiprocessing", "concurrent.futures", "threading"} <= set(names), names
heavy = {"multiprocessing.pool", "concurrent.futures.thread", "langchain_core", "mcp"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from multiprocessing.pool import Pool, ThreadPool

assert hasattr(Pool.map, "__wrapped__")
with ThreadPool(1) as pool:
    pool.map(abs, [1, 2])
assert shmperf.instrument() == names
shmperf.uninstrument("multiprocessing", "concurrent.futures")
assert not hasattr(Pool.map, "__wrapped__")
from concurrent.futures import ThreadPoolExecutor

assert not hasattr(ThreadPoolExecutor.submit, "__wrapped__")
assert shmperf.uninstrument() == []
finders = [one for one in sys.meta_path if type(one).__module__.startswith("shmperf")]
assert not finders
print("fine")
