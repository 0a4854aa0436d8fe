import sys
from pathlib import Path

from shmperf.session.session import attach

session = attach(Path(sys.argv[1]))
assert session.options.default_perf_points == 5
assert session.settings.changed_options() is None
assert "yaml" not in sys.modules
Path(session.settings.current.config).write_text("default_perf_points: 77\n")
assert session.settings.changed_options().default_perf_points == 77
