"""
``python -m bench.fleet --self-test``: can the campaign fail?

A copy of shmperf gets one deliberate fault at a time, of the kinds that lose or double lines on
their way, and a short campaign runs against that copy. One that finds nothing has failed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.faults.selftest import Change, Plant, plant

__all__ = ["PLANTS", "test_campaign"]

_LONGEST_S = 900.0
_SECTION = "fleet"
# The window in which the stream itself knows what comes again: next to none.
_WINDOW = "0.1"

PLANTS = (
    Plant(
        "lines count as published before the broker has them",
        (
            Change(
                "fleet/publisher.py",
                "        self._acknowledge(lines, done)\n        if error is not None:\n",
                "        self._acknowledge(lines, len(lines.lines))\n"
                "        if error is not None:\n",
            ),
        ),
        _SECTION,
        1.0,
    ),
    Plant(
        "what comes again is stored again",
        (
            Change(
                "fleet/cut.py",
                "        new = self.taken.add(batch.first, batch.after)\n",
                "        self.taken.add(batch.first, batch.after)\n"
                "        new = [(batch.first, batch.after)]\n",
            ),
            Change(
                "fleet/publisher.py",
                "        return [self._publisher.publish(message, _KEEP_S)]\n",
                "        import secrets\n"
                "        if secrets.randbelow(20) == 0:\n"
                "            other = message._replace(id=identity + 'x')\n"
                "            self._publisher.publish(other, _KEEP_S)\n"
                "        return [self._publisher.publish(message, _KEEP_S)]\n",
            ),
        ),
        _SECTION,
        1.0,
    ),
    Plant(
        "a line in fifty batches is known, and not stored",
        (
            Change(
                "fleet/cut.py",
                "        self.left_out += sum(after - first for first, after in new) - len(found)\n"
                "        return found\n",
                "        self.left_out += sum(after - first for first, after in new) - len(found)\n"
                "        self.planted = getattr(self, 'planted', 0) + 1\n"
                "        return found[1:] if self.planted % 50 == 0 else found\n",
            ),
        ),
        _SECTION,
        1.0,
    ),
)


def test_campaign(seed: int) -> int:
    """Plant each fault and run a short campaign; 1 when one was not caught."""
    caught = 0
    for fault in PLANTS:
        wrong = _caught(fault, seed)
        caught += bool(wrong)
        print(f"{'caught' if wrong else 'NOT CAUGHT'}: {fault.name}", flush=True)
        print(f"    {wrong[0][:200] if wrong else 'nothing was wrong'}", flush=True)
    print(f"{caught} of {len(PLANTS)} planted faults were caught")
    return int(caught < len(PLANTS))


def _caught(fault: Plant, seed: int) -> list[str]:
    """What the campaign says is wrong with nodes' calls."""
    with tempfile.TemporaryDirectory(prefix="planted-") as name:
        plant(fault, Path(name))
        report = Path(name) / "report.json"
        command = [sys.executable, "-m", "bench.fleet", "--short", "--json", str(report)]
        command += ["--seed", str(seed), "--nodes", "3", "--window", _WINDOW]
        subprocess.run(
            command,
            cwd=name,
            env={**os.environ, "PYTHONPATH": name},
            timeout=_LONGEST_S,
            capture_output=True,
            check=False,
        )
        found: dict[str, Any] = json.loads(report.read_text())
    outcome = found["outcome"]
    return outcome["wrong"] if outcome["lost"] or outcome["doubled"] else []
