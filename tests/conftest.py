"""Every test has a place of its own and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from .support import Place, place_in

# How long an example takes, and how many there are in the time, says how busy the machine is and
# nothing of what is tested.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.large_base_example,
    ],
)
# A run in CI is the same every time; elsewhere each run looks at other examples.
settings.register_profile("ci", settings.get_profile("tests"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "tests")


# What depends on the interpreter: its bytes, frames, processes, contexts and warnings. Marked here,
# where it is one list.
CORE = (
    "shm",
    "worker",
    "session",
    "collector/test_cycle.py",
    "collector/test_roster.py",
    "collector/test_supervisor.py",
    "storage/test_writer.py",
    "whole/test_end_to_end.py",
    "whole/test_interruptions.py",
    "whole/test_trace.py",
    "integrations/test_pools.py",
)
# Long, and the same on all of them.
NOT_CORE = ("worker/test_capture.py",)
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the core."""
    core, others = ([_HERE / name for name in names] for names in (CORE, NOT_CORE))
    for item in items:
        if item.path not in others and any(item.path.is_relative_to(path) for path in core):
            item.add_marker("core")


# What a shell starts in the background ignores Ctrl-C, what `nohup` starts the terminal's end, and
# so does all that they start: programs of tests would be told to end in vain.
for number, handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


def _skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """
    Note what was skipped in the file that SHMPERF_TESTS_SKIPPED names, one test or module a line.

    Where more is installed, just these are run: ``pytest @FILE``.
    """
    path = os.environ.get("SHMPERF_TESTS_SKIPPED")
    if path and report.skipped and "PYTEST_XDIST_WORKER" not in os.environ:
        with Path(path).open("a") as file:
            file.write(f"{report.nodeid}\n")


pytest_runtest_logreport = pytest_collectreport = _skipped


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A private runtime directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(path))
    for name in ("SHMPERF_SESSION", "SHMPERF_CONFIG", "OPTIMIZED_PERF_TRACKER_ENABLED"):
        monkeypatch.delenv(name, raising=False)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def place(tmp_path: Path, runtime: Path) -> Iterator[Place]:
    """Where programs run; afterwards no process, session or segment of theirs is left."""
    with place_in(tmp_path, runtime) as found:
        yield found
