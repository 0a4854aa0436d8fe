"""What starting costs: the import, a worker's first call, and the collector's first answer."""

from __future__ import annotations

from .measure import Row, private_place, row_of, run_python

__all__ = ["startup"]

# What any program with msgspec and shared memory imports is not ours.
_IMPORT = """
import msgspec, multiprocessing.shared_memory, time
start = time.perf_counter()
import shmperf
print((time.perf_counter() - start) * 1000)
"""
_FIRST_CALL = """
import time, shmperf
@shmperf.track
def tool(): pass
start = time.perf_counter()
tool()
first = time.perf_counter()
shmperf.get_perf_stats("tool")
print((first - start) * 1000, (time.perf_counter() - start) * 1000)
{then}
"""
_FORK = """
import os, time, shmperf
@shmperf.track
def tool(): pass
tool()
read, write = os.pipe()
if os.fork() == 0:
    start = time.perf_counter()
    tool()
    os.write(write, str((time.perf_counter() - start) * 1000).encode())
    os._exit(0)
print(os.read(read, 100).decode())
os.wait()
"""


def startup(*, quick: bool) -> list[Row]:
    """The rows."""
    rounds = 5 if quick else 20
    founding: list[float] = []
    ready: list[float] = []
    joining: list[float] = []
    forked: list[float] = []
    with private_place() as (cwd, environ):
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        run_python("import shmperf, shmperf.collector.service", cwd, environ)
        imports = [float(run_python(_IMPORT, cwd, environ)) for _ in range(2 * rounds)]
    for _ in range(rounds):
        with private_place() as (cwd, environ):
            environ.pop("PYTHONDONTWRITEBYTECODE", None)
            joiner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {_JOIN!r}])"
            first, answered, joined = run_python(
                _FIRST_CALL.format(then=joiner), cwd, environ
            ).split()
            founding.append(float(first))
            ready.append(float(answered))
            joining.append(float(joined))
            forked.append(float(run_python(_FORK, cwd, environ)))
    return [
        row_of("import shmperf, after msgspec and shared_memory", imports, "ms", target=10),
        row_of("first call, founding a session", founding, "ms", target=60),
        row_of("first call, joining one", joining, "ms", target=5),
        row_of("first call of a fork's child", forked, "ms", target=5),
        row_of("first call → collector answers", ready, "ms"),
    ]


_JOIN = (
    _FIRST_CALL.format(then="")
    .replace("print((first - start) * 1000, ", "print(")
    .replace("(time.perf_counter() - start) * 1000", "(first - start) * 1000")
)
