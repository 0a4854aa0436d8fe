"""Programs that PyInstaller has frozen: off and told, or recorded by a collector of somebody's."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.support import PYTHON, Place, needs, outputs, program_text

needs("pyinstaller")

KINDS = {
    "onedir": ("--onedir",),
    "onefile": ("--onefile",),
    # The collector's modules are there as well, and still nothing that could run them.
    "whole": ("--onedir", "--collect-submodules=shmperf"),
}


@pytest.fixture(params=KINDS)
def frozen(request: pytest.FixtureRequest, place: Place) -> Path:
    """The program ``frozen``, made by the real PyInstaller."""
    place.write("frozen.py", program_text("hosts/frozen"))
    where = ("--distpath=made", "--workpath=work", "--specpath=work")
    # Nothing outside of the test's own place, its cache neither.
    own = {"PYINSTALLER_CONFIG_DIR": str(place.cwd / "work"), "PYTHONWARNINGS": "ignore"}
    command = ("-m", "PyInstaller", "--noconfirm", *where, *KINDS[request.param], "frozen.py")
    place.run(PYTHON, *command, **own)
    shutil.rmtree(place.cwd / "work")
    made = place.cwd / "made" / "frozen"
    return made / "frozen" if made.is_dir() else made


def test_a_frozen_program_is_told_or_recorded(frozen: Path, place: Place) -> None:
    """Alone it runs once and is told what to do; what it left, and a run with help, is complete."""
    program = place.start(str(frozen))
    out, told = outputs(program)
    assert (program.returncode, out) == (0, "False\n"), told
    first, second = told.splitlines()
    assert first.startswith("the collector did not start: frozen is no Python interpreter")
    assert "shmperf collect --session NAME" in first
    assert second.startswith("not every call was on disk when the program ended: ")
    assert (place.cwd / "runs").read_text() == "run\n"
    # Whoever comes next with an interpreter drains what it has left.
    place.shmperf("status", "--wait")
    assert place.stats()["total_calls"] == 7
    place.wait_for_end()
    helped = place.start_module("run", "--", str(frozen))
    assert place.finish(helped).startswith("True\n")
    assert (place.cwd / "runs").read_text() == "run\n" * 2
    stats = place.stats()
    assert (stats["total_calls"], stats["lost"], stats["aborted"]) == (14, {}, 0)
    assert len(place.lines("tool")) == 14
