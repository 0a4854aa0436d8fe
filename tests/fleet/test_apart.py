"""Who has no fleet has nothing of it: no module of it is imported."""

from __future__ import annotations

import sys

from shmperf.collector.supervisor import SIDECARS
from shmperf.commands.table import COMMANDS
from tests.support import Place

_LOADS = """
import sys
from importlib import import_module
for name in sys.argv[1:]:
    import_module(name)
found = [name for name in sys.modules if name.startswith(("shmperf.fleet", "nats"))]
assert not found, found
print("nothing")
"""


def test_nothing_of_a_fleet_is_imported_without_one(place: Place) -> None:
    """Neither by a program, nor by its collector and its sidecars, nor by any other command."""

    sidecars = [row.module for row in SIDECARS if row.name != "fleet"]
    commands = [row.module for row in COMMANDS if row.name != "fleet"]
    names = ["shmperf", "shmperf.rag", "shmperf.collector.service", *sidecars, *commands]
    path = place.write("loads.py", _LOADS)
    assert place.run(sys.executable, str(path), *names).strip() == "nothing"
