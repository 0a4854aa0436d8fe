"""Questions in a session whose directory somebody has removed, and with no descriptor left."""

import resource
import shutil

import shmperf
from shmperf.worker.process import worker


@shmperf.track
def tool(n):
    return n


tool(1)
assert shmperf.flush()
before = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
assert not shmperf.flush(0.2)
shmperf.cleanup_perf_data()
shmperf.set_optimization_mode(True)
resource.setrlimit(resource.RLIMIT_NOFILE, before)
shutil.rmtree(worker.session.directory)
shmperf.set_optimization_mode(True)
print(shmperf.get_tracker().mode, shmperf.flush(0.2))
