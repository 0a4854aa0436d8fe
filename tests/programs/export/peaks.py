"""What memory a format needed at most, in KiB: for so many calls, then for more."""

import sys
from pathlib import Path

import msgspec

from shmperf.exporters.table import exporter_of
from shmperf.storage.kept import kept_call

FIRST_S = 1767323045.0
LINE = {"tool": "search", "timestamp": "2026-01-02T03:04:05.000000+00:00", "data": {"pid": 7}}
CALL = kept_call(LINE)


def calls(count):
    """Each with a text of its own, three at a time, the second within the first."""
    for number in range(count):
        own = f"{number + 1:016x}"
        yield msgspec.structs.replace(
            CALL,
            id=own,
            parent=f"{number:016x}" if number % 3 == 1 else None,
            trace=own,
            start_s=FIRST_S + number // 3 + number % 3 * 0.1,
            duration_s=1.0 - number % 3 * 0.1,
            params=f'{{"query":"{own * 4}"}}',
        )


def peak():
    status = Path("/proc/self/status").read_text()
    return next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))


name, output, *counts = sys.argv[1:]
export = exporter_of(name, output)
for count in counts:
    assert sum(map(len, export(calls(int(count)))))
    print(peak())
