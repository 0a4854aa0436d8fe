"""
A copy of shmperf whose compiled path has its test points, for the campaign's children.

What is installed has none: `POINT` is nothing there. Who runs the copy needs no more than its place
on the path, so that whatever a child starts in its turn runs it, too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

import shmperf
from shmperf.compiled.build import compiled
from shmperf.compiled.chosen import hot, why_not

__all__ = ["ROOT", "Build", "build_in", "copy_to", "recompile"]

ROOT = Path(shmperf.__file__).parent.parent
_POINTS = Path(__file__).with_name("points.c")
_DEFINE = "-DSHMPERF_POINTS"


class Build(NamedTuple):
    """Where the campaign's children find shmperf, and why its compiled path has no points."""

    root: Path = ROOT
    why_not: str = "it was not built for that"


def build_in(directory: Path) -> Build:
    """A copy in *directory*; what is here already, where no path is compiled or none can be."""
    if hot is None:
        return Build(why_not=why_not)
    copy_to(directory)
    shutil.copy(_POINTS, directory / "shmperf" / "compiled")
    failed = recompile(directory, _DEFINE)
    return Build(why_not=failed) if failed else Build(directory, "")


def copy_to(directory: Path) -> None:
    """Everything that the campaign runs, in *directory*."""
    for name in ("shmperf", "bench"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("*.pyc"))


def recompile(directory: Path, *flags: str) -> str:
    """Compile the copy's own sources; why not, in a line, when that can't be."""
    package = directory / "shmperf"
    return compiled(package / "compiled", package, *flags)
