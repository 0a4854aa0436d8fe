"""Runs the command of its arguments; prints the modules that it has imported."""

import contextlib
import io
import sys

from shmperf.commands.main import main

with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main(sys.argv[1:])
print(*sys.modules)
