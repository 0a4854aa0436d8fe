import sys

from shmperf.worker.outcome import status_for

assert [status_for(e) for e in (None, ValueError(), TimeoutError())] == [0, 1, 2]
assert "asyncio" not in sys.modules
assert "concurrent" not in sys.modules
