"""What an installation is made of: with a compiler, without, with one that fails, on purpose."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from shmperf.compiled.build import built_name, unbuilt_name

pytest.importorskip("hatchling", reason="what builds the package is not installed")

ROOT = Path(__file__).parents[2]
WHATS = {
    "no compiler": {"CC": "/nowhere/cc"},
    "a failing one": {"CC": "false"},
    "sources that don't compile": {"SHMPERF_CFLAGS": "-Dstatic=none"},
    "on purpose": {"SHMPERF_NO_COMPILE": "1"},
}
SAY = {
    "no compiler": "no compiler (",
    "a failing one": "false failed (",
    "sources that don't compile": "error",
    "on purpose": "SHMPERF_NO_COMPILE was set",
}


def built(root: Path, place: Path, what: str, **environ: str) -> tuple[Path, str]:
    """The wheel or source archive, and what was told."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", what, "-d", str(place)],
        cwd=root,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    (found,) = place.iterdir()
    return found, done.stdout + done.stderr


def answer_of(wheel: Path, place: Path, code: str, **environ: str) -> str:
    """What the package in *wheel* prints, and not the one that is installed here."""
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(place)
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(place), **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


PATH = "from shmperf.compiled.chosen import path; print(path())"


@pytest.mark.parametrize("what", WHATS)
def test_an_installation_without_c_is_pure_and_says_so(tmp_path: Path, what: str) -> None:
    """One line as it is made, the same from the doctor, and a wheel for every system."""
    wheel, told = built(ROOT, tmp_path / "dist", "wheel", **WHATS[what])
    assert wheel.name.endswith("-py3-none-any.whl")
    lines = [line for line in told.splitlines() if "installed as pure Python" in line]
    assert len(lines) == 1
    assert SAY[what] in lines[0]
    names = zipfile.ZipFile(wheel).namelist()
    assert f"shmperf/{unbuilt_name()}" in names
    assert not [name for name in names if name.endswith(".so")]
    found = answer_of(wheel, tmp_path / "there", PATH)
    assert found.startswith("pure Python (")
    assert SAY[what] in found


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler here")
def test_a_source_archive_becomes_a_compiled_wheel(tmp_path: Path) -> None:
    """The archive has all that it takes; the wheel is of one Python, and can be told to be pure."""
    archive, _ = built(ROOT, tmp_path / "sdist", "sdist")
    shutil.unpack_archive(archive, tmp_path / "sources", filter="data")
    (sources,) = (tmp_path / "sources").iterdir()
    wheel, told = built(sources, tmp_path / "dist", "wheel")
    assert "pure Python" not in told
    assert f"-cp3{sys.version_info.minor}-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if "_hot" in name] == [f"shmperf/{built_name()}"]
    there = tmp_path / "there"
    assert answer_of(wheel, there, PATH, SHMPERF_COMPILED="1") == "compiled"
    off = answer_of(wheel, there, PATH, SHMPERF_COMPILED="0")
    assert off == "pure Python (SHMPERF_COMPILED=0)"
