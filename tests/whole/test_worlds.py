"""Programs in a world that lets them do little: no tool, and no question, hears of it from us."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from tests.support import PYTHON, Place, outputs, program_text, wait_until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="changes root or user: needs root")
WORLDS = [
    "no descriptors",
    "no memory",
    "no sizes",
    pytest.param("another root", marks=AS_ROOT),
    pytest.param("another user", marks=AS_ROOT),
    "no directory",
    "no streams",
    "no imports",
    "no imports, by an error of its own",
    "no __import__",
    "no deeds",
]
# What a program's questions are answered by, in their order.
ANSWERS = ["dict", "str", "dict", "dict", "bool", "bool", "NoneType", "NoneType"]
DROP_IN = ["dict", "dict", "bool", "dict"]


def given(n: int) -> dict[str, Any]:
    """What each kind of call gives without us."""
    return {
        **dict.fromkeys(("plain", "awaited", "chosen", "method", "block", "carried"), n),
        "fails": [f"KeyError({n})", "None"],
        "steps": [n, n],
        "awaited_steps": [n, n],
        "pair": "str",
        "long": 5_000,
    }


@pytest.mark.parametrize("since", ["first", "later"])
@pytest.mark.parametrize("world", WORLDS)
def test_no_tool_hears_of_what_the_world_refuses(place: Place, world: str, since: str) -> None:
    """Every kind of call gives what it gives without us, and every question has its answer."""
    # Whoever founds a session must import what reads it.
    place.write("config/tool_perf_limits.yaml", "default_perf_points: 1000\n")
    program = place.start_program("interruptions/worlds", world, since)
    out, error = outputs(program)
    assert program.returncode == 0, error
    assert "Traceback" not in error, error
    found, asked, before, begun = json.loads(out)
    assert found == [given(1), given(2)]
    assert asked == ANSWERS + (DROP_IN if since == "later" else [])
    if since == "later":
        place.wait_for_end()
        assert 0 < before <= place.stats()["begun"] <= begun


ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child")


def has_namespaces() -> bool:
    if shutil.which(ELSEWHERE[0]) is None:
        return False
    return subprocess.run([*ELSEWHERE, "true"], capture_output=True, check=False).returncode == 0


def test_a_pid_of_another_namespace_is_measured_as_nobody(place: Place) -> None:
    """Of a worker whose pid is another process here `status` has no memory, of others it has."""
    if not has_namespaces():
        pytest.skip(f"this user may not run {' '.join(ELSEWHERE)}")
    place.write("config/tool_perf_limits.yaml", "collector: {sample_interval_seconds: 0.1}\n")
    daemon = place.start_module("collect", "--session", "shared")
    place.collector_pid("--session", "shared")
    script = place.write("there.py", program_text("commands/stays_open"))
    there = place.start(*ELSEWHERE, PYTHON, str(script), SHMPERF_SESSION="shared")
    here = place.start_program("commands/stays_open", SHMPERF_SESSION="shared")
    for program in (there, here):
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"

    def measured() -> dict[int, int | None]:
        rows = place.ask("status", "--session", "shared")["workers"]
        found = {row["pid"]: row["memory_bytes"] for row in rows}
        return found if len(found) == 2 and found.get(here.pid) else {}

    found = wait_until(measured, "both to be there, and one of them measured")
    assert found[1] is None
    for program in (there, here):
        outputs(program)
    daemon.terminate()
    place.finish(daemon)
