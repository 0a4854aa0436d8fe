"""What the pytest plugin adds to a run of 1,000 tests that do nothing, with two workers."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping

from .measure import PROGRAMS, Row, private_place, row_of

__all__ = ["pytest_plugin"]


def pytest_plugin(*, quick: bool) -> list[Row]:
    """The run's wall time without it, and how much more it takes with it."""
    rounds = 1 if quick else 10
    without: list[float] = []
    more: list[float] = []
    with private_place() as (cwd, environ):
        environ.pop("PYTHONDONTWRITEBYTECODE", None)
        (cwd / "test_suite.py").write_text((PROGRAMS / "suite.py").read_text())
        (cwd / "pytest.ini").write_text("[pytest]\n")
        # A session of tests begins no runs by itself: nobody has a configuration for that.
        (cwd / "config/tool_perf_limits.yaml").unlink()
        _run_s(cwd.as_posix(), environ, "--shmperf")
        for number in range(rounds):
            # There and back, so that a machine that slows down favours neither.
            order = ("", "--shmperf") if number % 2 else ("--shmperf", "")
            took = {option: _run_s(cwd.as_posix(), environ, option) for option in order}
            without.append(took[""])
            more.append((took["--shmperf"] / took[""] - 1) * 100)
    return [
        row_of("pytest, 1,000 tests, -n 2: without", without, "s"),
        row_of("pytest, 1,000 tests, -n 2: with --shmperf", more, "% more", target=2.0),
    ]


def _run_s(cwd: str, environ: Mapping[str, str], option: str) -> float:
    command = [sys.executable, "-m", "pytest", "-q", "-n", "2", *option.split()]
    start = time.perf_counter()
    subprocess.run(command, cwd=cwd, env=environ, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
