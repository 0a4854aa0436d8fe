"""
``python -m bench.faults --self-test``: can the campaign fail?

A copy of shmperf gets one deliberate fault at a time, of the kinds that cost or double calls, and
the section that is there to find it runs against that copy. One that finds nothing has failed. One
in C has its copy compiled, and is left out where nothing is.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from shmperf.compiled.chosen import hot, why_not

from .instrumented import copy_to, recompile

__all__ = ["PLANTS", "Plant", "plant", "test_campaign"]

_LONGEST_S = 900.0


class Change(NamedTuple):
    """What stands once in a file of the package, and what is to stand there."""

    file: str
    former: str
    latter: str


class Plant(NamedTuple):
    """A fault, and the section that is to find it, in so many minutes on a fast machine."""

    name: str
    changes: tuple[Change, ...]
    section: str
    minutes: float

    @property
    def is_in_c(self) -> bool:
        """True where it has to be compiled."""
        return any(change.file.endswith((".c", ".h")) for change in self.changes)


PLANTS = (
    Plant(
        "slots are released before their meaning is in the journal",
        (
            Change(
                "collector/frames.py",
                "        frame = self._build()\n",
                "        frame = self._build()\n        for worker in news:\n"
                "            worker.release()\n        __import__('time').sleep(0.02)\n",
            ),
        ),
        "collectors",
        1.0,
    ),
    Plant(
        "lines behind a file's listed size stay after a restart",
        (
            Change(
                "storage/history.py",
                "                    os.ftruncate(fd, known.size)  # point: files-cut\n",
                "",
            ),
            Change(
                "storage/history.py",
                "            if there.st_size > known.size:\n"
                "                os.ftruncate(fd, known.size)\n",
                "",
            ),
        ),
        "collectors",
        1.0,
    ),
    Plant(
        "a segment whose lines are in their file still counts beside it",
        (
            Change(
                "storage/archive.py",
                "        twice = self._in_both(tool, known, indexes)\n",
                "        twice: set[int] = set()\n",
            ),
        ),
        "collectors",
        1.0,
    ),
    Plant(
        "the dead are buried without a last drain",
        (
            Change(
                "collector/cycle.py",
                "        self._pass(self.roster.each(), thoroughly=True)\n"
                "        while self._pass(dead, thoroughly=True):\n            pass\n",
                "",
            ),
        ),
        "collectors",
        1.0,
    ),
    Plant(
        "one call in ten thousand is dropped",
        (
            Change(
                "collector/ingest.py",
                "            batch = self._admitted(worker, found, seen)\n",
                "            batch = self._admitted(worker, found, seen)\n"
                "            self.planted = getattr(self, 'planted', 0) + len(batch)\n"
                "            if self.planted >= 10_000:\n"
                "                self.planted = 0\n"
                "                batch = Batch.of(list(batch)[1:])\n",
            ),
        ),
        "flood",
        0.2,
    ),
    Plant(
        "a slot is committed before what it holds is there",
        (
            Change(
                "compiled/slot.h",
                '    POINT("slot-store");\n',
                "    __atomic_store_n(slot + COMMIT_WORD, position, __ATOMIC_RELEASE);\n"
                '    POINT("slot-store");\n',
            ),
        ),
        "workers",
        2.0,
    ),
)


def plant(fault: Plant, directory: Path) -> None:
    """A copy of everything in *directory*, with the fault; LookupError where it has no place."""
    copy_to(directory)
    for change in fault.changes:
        path = directory / "shmperf" / change.file
        text = path.read_text()
        if text.count(change.former) != 1:
            raise LookupError(f"{fault.name}: {change.file} has no place for it any more")
        path.write_text(text.replace(change.former, change.latter))
    if fault.is_in_c and (failed := recompile(directory)):
        raise LookupError(f"{fault.name}: {failed}")


def test_campaign(seed: int) -> int:
    """Plant each fault and run its section; 1 when one was not caught."""
    caught, tried = 0, [fault for fault in PLANTS if hot is not None or not fault.is_in_c]
    for fault in PLANTS:
        if fault not in tried:
            print(f"left out: {fault.name}: {why_not}", flush=True)
            continue
        wrong = _caught(fault, seed)
        caught += bool(wrong)
        print(f"{'caught' if wrong else 'NOT CAUGHT'}: {fault.name} ({fault.section})", flush=True)
        print(f"    {wrong[0][:200] if wrong else 'nothing was wrong'}", flush=True)
    print(f"{caught} of {len(tried)} planted faults were caught")
    return int(caught < len(tried))


def _caught(fault: Plant, seed: int) -> list[str]:
    """What the fault's section says is wrong, beyond what says nothing of calls."""
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        directory = Path(name)
        plant(fault, directory)
        report = directory / "report.json"
        command = [sys.executable, "-m", "bench.faults", fault.section, "--json", str(report)]
        command += ["--minutes", str(fault.minutes), "--seed", str(seed)]
        environ = {**os.environ, "PYTHONPATH": name}
        subprocess.run(
            command, cwd=name, env=environ, timeout=_LONGEST_S, capture_output=True, check=False
        )
        found: dict[str, Any] = json.loads(report.read_text())
    return [text for text in found["wrong"] if not text.startswith(("only ", "the section itself"))]
