"""An export that has read many calls, and waits for the next one for ever."""

import sys
from pathlib import Path

from shmperf.exporters.output import write_private
from shmperf.exporters.table import EXPORTERS, exporter_of
from shmperf.storage.kept import kept_call


def calls():
    for number in range(20_000):
        data = {"s": 1767323045.0 + number, "d": 0.5, "id": f"{number + 1:016x}", "pid": 7}
        timestamp = "2026-01-02T03:04:05.000000+00:00"
        yield kept_call({"tool": f"tool{number}", "timestamp": timestamp, "data": data})
    print("half", flush=True)
    sys.stdin.read()


output, path = sys.argv[1:]
name = next(row.name for row in EXPORTERS if output in (row.name, row.ending))
write_private(Path(path), exporter_of(name, path)(calls()))
