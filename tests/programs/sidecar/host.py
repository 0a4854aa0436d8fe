"""A whole collector whose one sidecar is the toy: it says where its session is, and runs on."""

import sys
from pathlib import Path

cwd, runtime, sources = sys.argv[1:]
sys.path.append(sources)

from shmperf.collector import supervisor
from shmperf.testing import Room
from tests.collector.test_supervisor import TOY

supervisor.SIDECARS = (TOY,)
room = Room(Path(cwd), Path(runtime))
(room.storage / "wanted").touch()
# As long as one works, the session goes on.
room.worker()
print(room.directory, flush=True)
room.collector.run()
