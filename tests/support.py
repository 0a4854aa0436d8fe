"""What tests share: real programs in a private place, waiting on conditions, and the books."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from shmperf.session import paths
from shmperf.shm.memory import SHARED_MEMORY, remove_memory
from shmperf.testing import assert_books_balance

PYTHON = sys.executable
PROGRAMS = Path(__file__).with_name("programs")
# SHMPERF_TESTS_LONG=1: what takes minutes is done in full, not a part of it.
# What of the environment tells a program how to record, or whose trace it is in.
_OURS = ("SHMPERF", "OPTIMIZED", "TRACEPARENT")
# But tests of one path are tests of it everywhere.
_PATH = "SHMPERF_COMPILED"
IN_FULL = os.environ.get("SHMPERF_TESTS_LONG") == "1"
# From 3.15 on a fork beside other threads raises as an error what it tells, behind the fork: then
# multiprocessing's own threads end.
WARNINGS = "error"
if sys.version_info >= (3, 15):
    WARNINGS += ",ignore:This process (pid:DeprecationWarning"
# What the loop below takes on the machine on which the limits of the tests were found.
_REFERENCE_S = 0.027
_LOOP = 400_000
_MOST_SLOWNESS = 40.0


def measured_slowness() -> float:
    """
    How many times slower than the reference this machine is now, at least 1.

    By the clock and not by the time on a core: whoever else runs here is part of it. A load that
    has come a moment ago shows in the loop, one that comes and goes in the system's average.
    """
    looped_s, busy_s = [], []
    for _ in range(3):
        clock_s, core_s, mixed = time.perf_counter(), time.process_time(), 0
        for number in range(_LOOP):
            mixed = mixed * 31 + number & 0xFFFF
        looped_s.append(time.perf_counter() - clock_s)
        busy_s.append(time.process_time() - core_s)
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    slowest_s = max(*looped_s, min(busy_s) * load)
    return min(_MOST_SLOWNESS, max(1.0, slowest_s / _REFERENCE_S))


# Measured once a run. What is limited by it ends long before on any machine: a limit only bounds
# how long a failure takes. Half of it is for the load that this very run is going to be.
DEADLINE_S = 120.0 * measured_slowness()


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float = DEADLINE_S
) -> Any:
    """
    The first true value of *condition*; AssertionError after the deadline.

    *what* that tells of something that changes is a function, asked when time is up.
    """
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() >= deadline:
            told = what if isinstance(what, str) else what()
            pytest.fail(f"waited {timeout_s:.0f} s for {told}")
        pause.wait(0.01)


def outputs(program: subprocess.Popen[str], given: str | None = None) -> tuple[str, str]:
    """Standard output and error of a program that is to end now; *given* is its input."""
    return program.communicate(given, timeout=DEADLINE_S)


def program_text(name: str) -> str:
    """The text of a program in tests/programs, where they are linted and formatted."""
    return (PROGRAMS / f"{name}.py").read_text()


def needs(package: str, major: int = 0) -> None:
    """
    Skip the module's tests when *package*, as pip calls it, is missing or older than *major*.

    With SHMPERF_TESTS_NO_SKIP=1 that fails. It is not imported here.
    """
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        missing(
            f"{package} is not installed: pip install -e '.[dev,integrations,stores,counterparts]'"
        )
    else:
        if int(found.partition(".")[0]) < major:
            missing(f"{package} {found} is older than {major}")


def missing(reason: str) -> None:
    """Skip the module's tests; with SHMPERF_TESTS_NO_SKIP=1 that fails."""
    if os.environ.get("SHMPERF_TESTS_NO_SKIP") == "1":
        pytest.fail(reason)
    pytest.skip(reason, allow_module_level=True)


class Place:
    """A working directory and a runtime directory of a test's own, for programs and commands."""

    def __init__(self, cwd: Path, runtime: Path) -> None:
        self.cwd = cwd
        self.runtime = runtime
        self.environ = {
            **{k: v for k, v in os.environ.items() if k == _PATH or not k.startswith(_OURS)},
            "XDG_RUNTIME_DIR": str(runtime),
            "PYTHONWARNINGS": WARNINGS,
            # For limits within programs.
            "TESTS_DEADLINE_S": str(DEADLINE_S),
        }
        self._programs: list[subprocess.Popen[str]] = []

    @property
    def storage(self) -> Path:
        """The default storage directory."""
        return self.cwd / "perf_data"

    def write(self, name: str, text: str) -> Path:
        """A file in the working directory."""
        path = self.cwd / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return path

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start a program; it is killed with the test if it is still there."""
        program = subprocess.Popen(
            command,
            cwd=self.cwd,
            env={**self.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._programs.append(program)
        return program

    def start_script(self, text: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a Python program of that text."""
        path = self.write(f"program{len(self._programs)}.py", text)
        return self.start(PYTHON, str(path), *arguments, **environ)

    def start_program(self, name: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start a program of tests/programs, from a copy in the working directory."""
        return self.start_script(program_text(name), *arguments, **environ)

    def run(self, *command: str, code: int = 0, **environ: str) -> str:
        """Run a program to its end; its standard output."""
        return self.finish(self.start(*command, **environ), code=code)

    def run_script(self, text: str, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run a Python program of that text to its end; its standard output."""
        return self.finish(self.start_script(text, *arguments, **environ), code=code)

    def run_program(self, name: str, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run a program of tests/programs to its end; its standard output."""
        return self.finish(self.start_program(name, *arguments, **environ), code=code)

    def finish(self, program: subprocess.Popen[str], *, code: int = 0) -> str:
        """Wait for a program and check its exit code; its standard output."""
        out, err = outputs(program)
        assert program.returncode == code, f"exit {program.returncode}\n{out}\n{err}"
        if code == 0:
            assert "Traceback" not in err, err
        program.error_text = err  # type: ignore[attr-defined]
        return out

    def shmperf(self, *arguments: str, code: int = 0, **environ: str) -> str:
        """Run the command; its standard output."""
        return self.run(PYTHON, "-m", "shmperf", *arguments, code=code, **environ)

    def start_module(self, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start the command in the background."""
        return self.start(PYTHON, "-m", "shmperf", *arguments, **environ)

    def ask(self, *arguments: str, **environ: str) -> Any:
        """Run the command with ``--json``; what it prints."""
        return json.loads(self.shmperf(*arguments, "--json", **environ))

    def stats(self, *arguments: str) -> dict[str, Any]:
        """The statistics, whose books balance."""
        found: dict[str, Any] = self.ask("stats", *arguments)
        assert_books_balance(found)
        return found

    def lines(self, tool: str, storage: Path | None = None) -> list[dict[str, Any]]:
        """The history of a tool with a plain name."""
        path = (storage or self.storage) / f"{tool}_perf.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def ids(self, tool: str) -> Counter[str]:
        """How often each id stands in a tool's history."""
        return Counter(line["data"]["id"] for line in self.lines(tool))

    def sessions(self) -> list[Path]:
        """The session directories that are there."""
        return sorted((self.runtime / "shmperf").glob("[sn]-*"))

    def segments(self) -> set[str]:
        """The segments of workers that are announced here."""
        return {path.name[2:] for session in self.sessions() for path in session.glob("w-*")}

    def collector_pid(self, *arguments: str) -> int:
        """The pid of the collector, once there is one."""
        found = self.ask("status", "--wait", *arguments)
        return int(found["collector"]["pid"])

    def wait_for_end(self) -> None:
        """Wait until every session has ended: no worker, no collector, no memory."""
        wait_until(lambda: not self.sessions(), lambda: f"the sessions to end: {self.sessions()}")

    def wait_for_sidecars(self) -> None:
        """Wait, once sessions have ended, until all that they had to send is sent."""
        wait_until(lambda: not _collectors(self.runtime), "what runs beside collectors to end")

    def close(self) -> None:
        """Kill what still runs."""
        for program in self._programs:
            if program.poll() is None:
                program.kill()
            program.communicate()


@contextmanager
def place_in(cwd: Path, runtime: Path) -> Iterator[Place]:
    """Where programs run; afterwards no process, session or segment of theirs is left."""
    # One that is too long for a socket is not used: nothing of what is looked for would be there.
    assert paths._is_short(runtime / "shmperf"), runtime
    found = Place(cwd, runtime)
    before = {child.pid for child in psutil.Process().children()}
    seen: set[str] = set()
    try:
        yield found
    finally:
        seen |= found.segments()
        found.close()
    wait_until(lambda: not _collectors(runtime), "collectors to end")
    for session in found.sessions():
        # A named session whose collector a test has killed; nobody else would end it.
        seen |= {path.name[2:] for path in session.glob("w-*")}
    for name in seen:
        remove_memory(name, None)
    assert not {child.pid for child in psutil.Process().children()} - before
    assert not [name for name in seen if (SHARED_MEMORY / name).exists()]


def _collectors(runtime: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if str(runtime) in " ".join(process.cmdline()):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
