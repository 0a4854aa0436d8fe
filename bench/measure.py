"""
How everything here is measured: in turn, in rounds, with medians and their spread.

The machine is shared and noisy. What is compared runs interleaved (A B C C B A A B C …) in one
process or one minute, so that a slow moment hits all alike; ratios are taken round by round. The
spread is the middle half of the rounds: of sixty rounds the least and the greatest tell of the
machine only.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil

import shmperf

__all__ = [
    "PROGRAMS",
    "Row",
    "Series",
    "anonymous_mib",
    "collector_pid",
    "cpu_s",
    "environment",
    "in_turn",
    "interval",
    "pin",
    "pinned",
    "private_place",
    "ratio",
    "resident_mib",
    "row_of",
    "run_program",
    "run_python",
    "thread_cpu_ns",
    "wait_until",
]

# What runs in an interpreter of its own; linted and formatted like everything else.
PROGRAMS = Path(__file__).with_name("programs")

Series = dict[str, list[float]]


class Row(msgspec.Struct, kw_only=True):
    """
    One figure: the median of its rounds, and the target if any.

    *low* and *high* are the spread, the quartiles of the rounds, unless the name says otherwise.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    low: float | None = None
    high: float | None = None
    rounds: int = 1
    section: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None without one."""
        if self.target is None:
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON has it."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return {**found, "met": self.met}


def row_of(name: str, figures: Sequence[float], unit: str, **more: Any) -> Row:
    """The row of several rounds' *figures*."""
    low = high = None
    if len(figures) > 1:
        low, _, high = statistics.quantiles(figures, n=4, method="inclusive")
    return Row(
        name=name,
        value=statistics.median(figures),
        unit=unit,
        low=low,
        high=high,
        rounds=len(figures),
        **more,
    )


def ratio(
    name: str,
    figures: Sequence[float],
    others: Sequence[float],
    target: float | None = None,
    *,
    at_least: bool = False,
) -> Row:
    """The ratio of two series, round by round."""
    ratios = [one / other for one, other in zip(figures, others, strict=True)]
    return row_of(name, ratios, "×", target=target, at_least=at_least)


def in_turn(subjects: Mapping[str, Callable[[int], float]], rounds: int, count: int) -> Series:
    """
    What each subject returned in each round, the subjects taking turns, there and back.

    A subject gets how often it is to do its work, and returns nanoseconds a piece. Each pays for
    its own garbage: it is collected before the next one's turn.
    """
    found: Series = {name: [] for name in subjects}
    for subject in subjects.values():
        subject(count)
    gc.collect()
    gc.freeze()
    order = list(subjects)
    for _ in range(rounds):
        for name in order:
            found[name].append(subjects[name](count))
            gc.collect()
        order.reverse()
    gc.unfreeze()
    return found


def interval(figures: Sequence[float]) -> tuple[float, float]:
    """
    The 95 % confidence interval of the median of *figures*.

    By order statistics, the normal approximation of the binomial distribution: it assumes nothing
    of how the figures are distributed (Conover, Practical Nonparametric Statistics, chapter 3).
    """
    ordered, count = sorted(figures), len(figures)
    half = 0.98 * count**0.5
    low = max(0, round(count / 2 - half) - 1)
    return ordered[low], ordered[min(count - 1, round(count / 2 + half))]


def pin(*others: int) -> None:
    """Keep this process on one core and those of the pids *others* off it, where that can be."""
    if not hasattr(os, "sched_setaffinity"):
        return
    cores = os.sched_getaffinity(0)
    try:
        for pid in others:
            os.sched_setaffinity(pid, cores - {max(cores)} or cores)
        os.sched_setaffinity(0, {max(cores)})
    except OSError:
        return


@contextmanager
def pinned() -> Iterator[None]:
    """This process on one core for a while, where that can be."""
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    pin()
    try:
        yield
    finally:
        # Processes started later would inherit it.
        if cores:
            os.sched_setaffinity(0, cores)


def resident_mib() -> float:
    """This process's own memory in MiB: neither files nor shared memory."""
    return anonymous_mib(Path("/proc/self/smaps_rollup").read_text())


def anonymous_mib(smaps_rollup: str) -> float:
    """The same, of a process whose ``/proc/PID/smaps_rollup`` reads so."""
    for line in smaps_rollup.splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    raise ValueError("there is no line Anonymous")


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, in steps of a hundredth of a second."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def thread_cpu_ns(pid: int) -> int:
    """CPU time of a process's present threads so far, as exactly as the scheduler counts it."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def collector_pid() -> int:
    """The pid of the collector of this process's session."""
    shmperf.get_perf_stats()
    for pid, line in _commands_about(str(shmperf.get_tracker().session)):
        if "serve_embedded" in line:
            return pid
    raise RuntimeError("no collector was found")


def _commands_about(text: str) -> Iterator[tuple[int, str]]:
    """The pid and command line of each process in whose command line *text* stands."""
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if text in line:
            yield int(process.pid), line


# What begins by itself is in nobody's figures.
NO_RUNS = "optimization: {trigger_threshold: 0}\n"


@contextmanager
def private_place() -> Iterator[tuple[Path, dict[str, str]]]:
    """A working directory of our own, and an environment in which sessions meet nowhere else."""
    with tempfile.TemporaryDirectory(prefix="sb-") as directory:
        runtime = Path(directory) / "r"
        runtime.mkdir(mode=0o700)
        (Path(directory) / "config").mkdir()
        (Path(directory) / "config/tool_perf_limits.yaml").write_text(NO_RUNS)
        environ = {k: v for k, v in os.environ.items() if not k.startswith("SHMPERF")}
        environ |= {
            "XDG_RUNTIME_DIR": str(runtime),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        yield Path(directory), environ
        wait_until(lambda: not list(runtime.glob("shmperf/[sn]-*")), 30.0)
        # A sink writes its last figures when the session has gone.
        wait_until(lambda: not list(_commands_about(directory)), 30.0)


def run_program(name: str, cwd: Path, environ: Mapping[str, str], *arguments: object) -> str:
    """What the program of bench/programs prints."""
    return _printed([str(PROGRAMS / f"{name}.py"), *map(str, arguments)], cwd, environ)


def run_python(code: str, cwd: Path, environ: Mapping[str, str]) -> str:
    """What a fresh interpreter prints that runs *code*."""
    return _printed(["-c", code], cwd, environ)


def _printed(arguments: Sequence[str], cwd: Path, environ: Mapping[str, str]) -> str:
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    sys.stderr.write(done.stderr)
    return done.stdout


def wait_until(condition: Callable[[], object], timeout_s: float) -> bool:
    """Wait for *condition*, at most so long; whether it came."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def environment() -> dict[str, str]:
    """Machine, what else ran on it in the last minute, interpreter and commit."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
        "commit": _commit(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()
