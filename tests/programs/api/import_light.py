import sys
import threading

import shmperf

heavy = {"yaml", "psutil", "rich", "asyncio", "logging", "shmperf.collector"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert threading.active_count() == 1

before = set(sys.modules)
_ = shmperf.track
unneeded = {"pathlib", "logging", "traceback", "copy", "shmperf.session.messages"}
assert not unneeded & (set(sys.modules) - before), unneeded & set(sys.modules)
