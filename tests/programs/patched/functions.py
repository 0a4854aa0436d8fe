"""
Calls while functions of the standard library are mocked; with ``first`` the first one, too.

Prints what of the mocks was called, and the statistics.
"""

import json
import sys
from contextlib import ExitStack
from unittest import mock

import shmperf
from shmperf.interceptors import intercept_tool_call

OS = """open close read write fstat stat lstat mkdir rename replace unlink rmdir listdir scandir
getcwd geteuid getpid posix_spawn posix_fallocate ftruncate waitpid fork access pread kill"""
PATHS = "stat lstat mkdir open unlink rename replace exists is_file is_dir glob iterdir cwd"
REST = """builtins.open io.open time.sleep time.monotonic time.time time.perf_counter
time.perf_counter_ns time.thread_time_ns threading.RLock threading.Lock threading.get_ident
subprocess.Popen socket.socket secrets.token_hex fcntl.flock fcntl.fcntl mmap.mmap"""
NAMES = [
    *(f"os.{name}" for name in OS.split()),
    *(f"pathlib.Path.{name}" for name in PATHS.split()),
    *REST.split(),
]


@shmperf.track
def tool(n):
    return n


def calls():
    for n in range(300):
        assert tool(n) == n
    with shmperf.call("block", n=1):
        pass
    shmperf.end_tool_call(shmperf.track_tool_call("pair", {"n": 1}))
    assert intercept_tool_call("chain", lambda: 1) == 1


patched = {name: mock.Mock(side_effect=AssertionError(name)) for name in NAMES}
_ = shmperf.track_tool_call, shmperf.end_tool_call
if sys.argv[1] != "first":
    tool(0)
with ExitStack() as stack:
    for name, fake in patched.items():
        stack.enter_context(mock.patch(name, fake))
    calls()
assert shmperf.flush()
used = sorted(name for name, fake in patched.items() if fake.called)
print(json.dumps([used, shmperf.get_perf_stats()]))
