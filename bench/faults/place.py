"""
A private place for a batch of faults: directories, environment, what is left behind in it.

Shared memory is private too where the campaign may mount (as root): then whatever lies there is
ours. Elsewhere only names that were not there before count.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil

from shmperf.config.options import Options
from shmperf.shm.memory import PREFIX, SHARED_MEMORY
from shmperf.storage.alertfile import ALERTS
from shmperf.storage.exemplarfile import EXEMPLARS
from shmperf.storage.filenames import is_history
from shmperf.storage.reading import lines_of
from shmperf.storage.reports import FOLDER
from shmperf.storage.state import stats_on_disk

from .nursery import Nursery

__all__ = ["Line", "Place", "has_private_memory", "make_memory_private", "unexpected", "wait_until"]

_NEW_NAMESPACE, _RECURSIVE_PRIVATE = 0x20000, 0x4000 | 0x40000
_INTERNALS = re.compile(
    r"(snapshot|journal\.\d+|session|session\.lock|collector\.lock|blocks|outbox|origin)\Z"
)
# In the runtime root, where sessions had been: pointers, and what a storage could not be told.
_NOTES = ("p-", "u-")
_STANDING = (".shmperf", ".gitignore", ALERTS, EXEMPLARS, FOLDER)
_before: frozenset[str] = frozenset()


def make_memory_private(size: str = "4g") -> bool:
    """Put a file system of this process's and its children's own over shared memory."""
    global _before  # noqa: PLW0603  once a campaign
    libc = ctypes.CDLL(None, use_errno=True)
    shm = os.fsencode(SHARED_MEMORY)
    if (
        os.geteuid() == 0
        and libc.unshare(_NEW_NAMESPACE) == 0
        and libc.mount(b"none", b"/", None, _RECURSIVE_PRIVATE, None) == 0
        and libc.mount(b"tmpfs", shm, b"tmpfs", 0, b"size=" + size.encode()) == 0
    ):
        return True
    _before = frozenset(_segments())
    return False


def has_private_memory() -> bool:
    """True when everything in shared memory is the campaign's."""
    return not _before


def wait_until(condition: Callable[[], Any], timeout_s: float = 30.0) -> bool:
    """Whether *condition* came true within the time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _segments() -> set[str]:
    return {name for name in os.listdir(SHARED_MEMORY) if name.startswith(PREFIX)}  # noqa: PTH208


# What there is no room for is told, and stands in the books, which are compared. So are alerts: on
# a machine that is starved calls hang or become slower. And that some names have no end, or that
# one call took longer than the others, is so in here.
_PROMISED = re.compile(
    r"calls are lost \(|no memory for further names: |the collector did not start: "
    r"|(warning|critical|over): |[\d,]+ tools are named |[^:]+: call [0-9a-f]{16} took "
)


def unexpected(errors: Path) -> str:
    """What a child wrote to *errors*, its standard error, beside what has no room."""
    if not errors.exists():
        return ""
    lines = errors.read_text(errors="replace").splitlines(keepends=True)
    return "".join(line for line in lines if not _PROMISED.match(line))


class Line(NamedTuple):
    """What a line of history says of its call."""

    id: int
    pid: int
    is_aborted: bool
    tool: str
    params: str


class Place:
    """Working directory, runtime directory and logs of one batch."""

    def __init__(self, path: Path, config: str = "default_perf_points: -1\n") -> None:
        path.mkdir()
        self.path = path
        self.runtime = path / "r"
        self.cwd = path / "w"
        self.logs = path / "logs"
        for directory in (self.runtime, self.cwd, self.logs, self.cwd / "config"):
            directory.mkdir(mode=0o700)
        self.environ = {
            "XDG_RUNTIME_DIR": str(self.runtime),
            "SHMPERF_SESSION": "",
            "SHMPERF_CONFIG": "",
            "OPTIMIZED_PERF_TRACKER_ENABLED": "true",
        }
        self.write_config(config)
        self._logs = 0

    @property
    def storage(self) -> Path:
        """The default storage directory."""
        return self.cwd / "perf_data"

    @property
    def errors(self) -> str:
        """What the batch's children said on standard error, and nobody promised."""
        return unexpected(self.cwd / "errors")

    def write_config(self, text: str) -> None:
        """The configuration of whoever starts here from now on."""
        (self.cwd / "config" / "tool_perf_limits.yaml").write_text(text)

    def child(self, run: str, **more: Any) -> dict[str, Any]:
        """The spec of a child that runs here."""
        environ = {**self.environ, **more.pop("environ", {})}
        return {"run": run, "cwd": str(self.cwd), "environ": environ, **more}

    def new_log(self) -> str:
        """A path for the log of a further worker."""
        self._logs += 1
        return str(self.logs / f"{self._logs}")

    def sessions(self) -> list[Path]:
        """Directories of sessions that have not ended."""
        return list((self.runtime / "shmperf").glob("[sn]-*"))

    def presences(self) -> list[Path]:
        """Workers that are here, or were and have not been buried."""
        return [path for session in self.sessions() for path in session.glob("w-*")]

    def stats(self, storage: Path | None = None) -> dict[str, Any]:
        """The statistics on disk."""
        return stats_on_disk(storage or self.storage, None, Options())

    def lines(self, storage: Path | None = None) -> Iterator[Line]:
        """Every line of history; a torn one is nobody's."""
        decode = msgspec.json.Decoder(_Line).decode
        for text in lines_of(storage or self.storage, tell=_refuse):
            try:
                line = decode(text)
            except msgspec.DecodeError:
                yield Line(0, 0, False, f"a torn line, {text[:60]!r},", "")
                continue
            data = line.data
            params = data.p or bytes(data.params).decode()
            yield Line(int(data.id, 16), data.pid, data.status == "aborted", line.tool, params)

    def end_sessions(self, nursery: Nursery, timeout_s: float = 20.0) -> bool:
        """Wait until every session has ended, with a sweep now and then."""
        deadline = time.monotonic() + timeout_s
        while self.sessions():
            self._let_a_minute_pass()
            if wait_until(lambda: not self.sessions(), 2.0):
                break
            if time.monotonic() > deadline:
                return False
            self.sweep(nursery)
        self.sweep(nursery)
        return not self.sessions()

    def sweep(self, nursery: Nursery) -> None:
        """What the next collector of this user does first, a minute later."""
        self._let_a_minute_pass()
        nursery.run(**self.child("sweep"))

    def _let_a_minute_pass(self) -> None:
        """Make what killed processes left half done look old: nobody here is still at it."""
        root = self.runtime / "shmperf"
        for path in [*root.glob(".*"), *root.glob("[sn]-*/.*"), *self.cwd.glob("**/.shmperf/.*")]:
            try:
                os.utime(path, (0, 0), follow_symlinks=False)
            except FileNotFoundError:
                continue

    def left_behind(self) -> list[str]:
        """Segments, processes and files that should have gone."""
        found = [f"segment {name}" for name in sorted(_segments() - _before)]
        root = self.runtime / "shmperf"
        if root.is_dir():
            found += [f"in runtime: {p.name}" for p in root.iterdir() if p.name[:2] not in _NOTES]
        for storage in {self.storage, *self.cwd.glob("**/.shmperf/..")}:
            found += _strangers(storage.resolve())
        found += [f"process {pid}: {command[:150]}" for pid, command in self.processes()]
        return found

    def processes(self) -> list[tuple[int, str]]:
        """Collectors of this place that run, by pid."""
        found = []
        for process in psutil.process_iter():
            try:
                words = " ".join(process.cmdline())
                if str(self.runtime) in words and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process.pid, words))
            except psutil.Error:
                continue
        return found

    def remove(self) -> None:
        """Delete it all."""
        shutil.rmtree(self.path, ignore_errors=True)


def _refuse(text: str) -> None:
    raise ValueError(text)


def _strangers(storage: Path) -> list[str]:
    """Files in a storage directory that nobody would ever read or remove."""
    found = []
    if storage.is_dir():
        found += [p.name for p in storage.iterdir() if not is_history(p.name)]
        found = [f"in storage: {name}" for name in found if name not in _STANDING]
        inner = storage / ".shmperf"
        if inner.is_dir():
            names = [p.name for p in inner.iterdir() if not _INTERNALS.match(p.name)]
            found += [f"in .shmperf: {name}" for name in names]
    return found


class _Data(msgspec.Struct):
    id: str
    pid: int
    status: str = ""
    p: str = ""
    params: msgspec.Raw = msgspec.Raw()  # of a call in detail


class _Line(msgspec.Struct):
    tool: str
    data: _Data


@contextmanager
def a_place(parent: Path, name: str, config: str = "default_perf_points: -1\n") -> Iterator[Place]:
    """A place that is removed afterwards."""
    place = Place(parent / name, config)
    try:
        yield place
    finally:
        place.remove()
