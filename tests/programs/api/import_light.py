import sys
import threading

import shmperf  # noqa: F401  what it brings along is looked at

heavy = {"yaml", "psutil", "rich", "asyncio", "logging", "shmperf.collector"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
assert threading.active_count() == 1
