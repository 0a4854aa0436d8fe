"""Every format from a directory perf_data to one with little room; what each came to, as JSON."""

import contextlib
import io
import json
import sys
import tempfile
from pathlib import Path

from shmperf.commands.main import main
from shmperf.exporters.table import EXPORTERS

room, temporary = Path(sys.argv[1]), Path(tempfile.gettempdir())
told = {}
for row in EXPORTERS:
    for output in (row.name, row.ending):
        if not output:
            continue
        said = io.StringIO()
        path = room / f"calls.{output}"
        path.write_text("the old file")
        with contextlib.redirect_stderr(said):
            code = main(["export", row.name, "--storage", "perf_data", "-o", str(path)])
        told[output] = {
            "code": code,
            "said": said.getvalue(),
            "is_old": path.read_bytes() == b"the old file",
            "left": [one.name for one in (*room.iterdir(), *temporary.iterdir()) if one != path],
        }
        path.unlink()
print(json.dumps(told))
