"""A command of shmperf in a process of its own; what memory it needed at most, in KiB, is told."""

import sys
from pathlib import Path

from shmperf.commands.main import main

code = main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
print(peak, file=sys.stderr)
sys.exit(code)
