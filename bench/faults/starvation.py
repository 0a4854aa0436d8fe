"""
Section 3: no memory, no descriptors, no disk, a slow disk, and far too many of everything.

Whatever is missing, the tools' own work goes on: a worker that fails is wrong. What can be recorded
is; the rest is counted. Cases that mount need root and are skipped without.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Stats
from shmperf.shm.memory import SHARED_MEMORY

from .books import Rules, Tally, check, check_books
from .campaign import IN_DETAIL, Campaign
from .log import ask_to_stop, read_logs
from .place import Place, has_private_memory, unexpected, wait_until

__all__ = ["starve"]

_ENDING_S = 60.0
_READ_ONLY, _REMOUNT = 1, 32
_NAME = "campaign"
_PROMISED = ("tracking is off: ", "history stays in memory")


def starve(campaign: Campaign, seconds: float) -> Tally:
    """Every case once, smaller ones where the time is short, and again until it is up."""
    tally = campaign.begin(seconds, "starvation")
    cases = [
        _little_memory,
        _no_descriptors,
        _full_storage,
        _read_only_storage,
        _deleted_storage,
        _slow_storage,
        _little_collector,
        _short_lives,
        _crowd,
        _many_tools,
    ]
    share = 1.0 if seconds > 120 else 0.1
    first = True
    while first or not campaign.is_over:
        for case in cases:
            name = case.__name__.strip("_").replace("_", " ")
            if not first and campaign.is_over:
                break
            if case in (_little_memory, _full_storage, _read_only_storage) and not _may_mount():
                if first:
                    tally.skipped.append(f"{name}: needs root, to mount")
                continue
            with campaign.place(tally) as place:
                _Case(campaign, tally, place, name, share).run(case)
            tally.tried += 1
        first = False
    return tally


def _may_mount() -> bool:
    return os.geteuid() == 0 and has_private_memory()


class _Case:
    """One thing that is missing."""

    def __init__(
        self, campaign: Campaign, tally: Tally, place: Place, name: str, share: float
    ) -> None:
        self.nursery = campaign.nursery
        self.rng = campaign.rng
        self.tally = tally
        self.place = place
        self.name = name
        self.share = share

    def run(self, case: Callable[[_Case], None]) -> None:
        """The case, and a look whether any child failed."""
        case(self)

    def blame(self, text: str) -> None:
        """Something was wrong."""
        self.tally.blame(f"{self.name}: {text}")

    def work(self, *kinds: str, **more: object) -> None:
        """A worker from beginning to end; it must succeed."""
        spec = self.place.child("work", kinds=list(kinds), log=self.place.new_log(), **more)
        ended = self.nursery.run(_ENDING_S, **spec)
        if ended.status:
            self.blame(f"a worker ended with {ended.status}")

    def start(self, *kinds: str, **more: object) -> tuple[int, Path]:
        """A worker that goes on until it is asked to stop; its pid and log."""
        log = self.place.new_log()
        spec = self.place.child("work", kinds=list(kinds), log=log, **more)
        pid = self.nursery.start(**spec, slots=20_000, pause_s=0.002)
        if not wait_until(lambda: Path(log).exists() and self.place.presences(), _ENDING_S):
            self.blame("a worker did not come up")
        return pid, Path(log)

    def stop(self, pid: int, log: Path) -> None:
        """Ask it to, and see that it ends well."""
        ask_to_stop(log)
        ended = self.nursery.wait_for(pid, _ENDING_S)
        if ended is None or ended.status:
            self.blame(f"a worker ended with {ended}")

    def end(self) -> None:
        """Every session ends."""
        if not self.place.end_sessions(self.nursery, _ENDING_S):
            self.blame("a session did not end")

    def check(self, **rules: bool) -> None:
        """The end of the sessions, and the usual check."""
        self.end()
        check(self.tally, self.place, self.name, Rules(**rules))  # type: ignore[arg-type]


@contextmanager
def _mounted(path: Path, size: str) -> Iterator[Callable[[int], None]]:
    """A small file system over *path*; what it gives remounts it with flags."""
    libc = ctypes.CDLL(None, use_errno=True)
    where = os.fsencode(path)

    def mount(flags: int, size: str = size) -> None:
        options = f"size={size},mode=700".encode()
        if libc.mount(b"tmpfs", where, b"tmpfs", flags, options):
            raise OSError(ctypes.get_errno(), f"mount {path}")

    mount(0)
    try:
        yield lambda flags: mount(flags | _REMOUNT)
    finally:
        # Lazily: a collector may be on its last steps.
        libc.umount2(where, 2)


def _little_memory(case: _Case) -> None:
    """Shared memory of 1 MiB and less: files stand in, or calls are lost by count."""
    for size in ("1m", "64k", "4k"):
        with _mounted(SHARED_MEMORY, size):
            case.work("plain", "many", "burst", slots=3000)
            case.end()
    case.check(may_be_off=True)


def _no_descriptors(case: _Case) -> None:
    """No file can be opened, from the first call on or soon after."""
    for left in (0, 1, 2, 3, 5, 8, 13, 21):
        case.work("plain", "many", descriptors=left, slots=600)
    case.end()
    _expect_told(case)
    # Where even the storage could not be opened, history stayed in memory, and that was told.
    check_books(case.tally, case.place.stats(), case.name)
    times = Counter(call_id for call_id, *_ in case.place.lines())
    if doubled := times.total() - len(times):
        case.tally.doubled += doubled
        case.blame(f"{doubled} lines are there twice")


def _expect_told(case: _Case) -> None:
    """What children said is one line each, of the kind that is promised."""
    path = case.place.cwd / "errors"
    for line in unexpected(path).splitlines():
        if not any(text in line for text in _PROMISED):
            case.blame(f"a child said: {line}")
    path.unlink(missing_ok=True)


def _full_storage(case: _Case) -> None:
    """A full disk costs nothing but the time until there is room again."""
    case.place.storage.mkdir()
    with _mounted(case.place.storage, "4m"):
        pid, log = case.start("plain")
        filler = case.place.storage / "filler"
        try:
            with filler.open("wb") as file:
                while True:
                    file.write(bytes(4096))
                    file.flush()
        except OSError:
            pass
        time.sleep(1.0)
        filler.unlink()
        time.sleep(0.5)
        case.stop(pid, log)
        case.check()


def _read_only_storage(case: _Case) -> None:
    """A disk that can only be read at first: history waits in memory, and that is told."""
    case.place.storage.mkdir()
    with _mounted(case.place.storage, "16m") as remount:
        remount(_READ_ONLY)
        pid, log = case.start("plain")
        time.sleep(1.0)
        remount(0)
        time.sleep(1.0)
        case.stop(pid, log)
        case.end()
        _expect_told(case)
        case.check()


def _deleted_storage(case: _Case) -> None:
    """Who deletes the storage loses the history so far; all calls stay counted."""
    pid, log = case.start("plain")
    wait_until(lambda: list(case.place.lines()), _ENDING_S)
    shutil.rmtree(case.place.storage, ignore_errors=True)
    time.sleep(0.5)
    case.stop(pid, log)
    case.end()
    stats = case.place.stats()
    check_books(case.tally, stats, case.name)
    known = read_logs([log])
    if stats["begun"] != known.begun:
        case.blame(f"begun {stats['begun']}, expected {known.begun}")


def _slow_storage(case: _Case) -> None:
    """Writes that take seconds stop neither workers nor answers, and double nothing."""
    case.place.environ["SHMPERF_SESSION"] = _NAME
    for point in ("journal-append", "lines-write", "snapshot-payload", "file-prepared"):
        spec = case.place.child("collect", trap=[point, 2, "pause:2.5"])
        collector = case.nursery.start(**spec)
        session = case.place.runtime / "shmperf" / f"n-{_NAME}"
        wait_until(session.exists, _ENDING_S)
        pid, log = case.start("plain")
        client = Client(session)
        for _ in range(3):
            try:
                stats = client.ask(Stats(None), 5.0)
            except ShmperfError as error:
                case.blame(f"{point}: {error}")
                continue
            check_books_live(case, stats)
            time.sleep(0.2)
        case.stop(pid, log)
        os.kill(collector, signal.SIGTERM)
        if (ended := case.nursery.wait_for(collector, _ENDING_S)) is None or ended.status:
            case.blame(f"{point}: a collector ended with {ended}")
    _finish_named(case)


def check_books_live(case: _Case, stats: dict[str, object]) -> None:
    """While calls run, what is in flight is the rest, and never less than nothing."""
    if not isinstance(stats["in_flight"], int) or stats["in_flight"] < 0:
        case.blame(f"in flight: {stats['in_flight']}")


def _finish_named(case: _Case) -> None:
    """A collector without any limit ends the named session, and all is checked."""
    collector = case.nursery.start(**case.place.child("collect"))
    client = Client(case.place.runtime / "shmperf" / f"n-{_NAME}")
    try:
        client.ask(Stats(None), _ENDING_S)
    except ShmperfError as error:
        case.blame(f"the last collector does not answer: {error}")
    if not wait_until(lambda: not case.place.presences(), _ENDING_S):
        case.blame("the dead were not buried")
    os.kill(collector, signal.SIGTERM)
    if (ended := case.nursery.wait_for(collector, _ENDING_S)) is None or ended.status:
        case.blame(f"the last collector ended with {ended}")
    case.check()


def _little_collector(case: _Case) -> None:
    """A collector without memory may die; the next one goes on where it was."""
    case.place.environ["SHMPERF_SESSION"] = _NAME
    case.place.write_config(IN_DETAIL)
    for mib in (1, 4, 16):
        more = {"more_memory_bytes": mib << 20}
        collector = case.nursery.start(**case.place.child("collect", **more))
        session = case.place.runtime / "shmperf" / f"n-{_NAME}"
        wait_until(lambda at=session, pid=collector: at.exists() or not _runs(pid), _ENDING_S)
        case.work("wide", "plain", slots=1500)
        if collector in case.nursery.alive:
            os.kill(collector, signal.SIGKILL)
            case.nursery.wait_for(collector, _ENDING_S)
    # It says what it had no memory for.
    (case.place.cwd / "errors").unlink(missing_ok=True)
    _finish_named(case)


def _runs(pid: int) -> bool:
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]


def _short_lives(case: _Case) -> None:
    """Two thousand processes of ten calls each."""
    _many_workers(case, int(2000 * case.share), at_once=8, rounds=2)


def _crowd(case: _Case) -> None:
    """Two hundred workers at once."""
    count = max(40, int(200 * case.share))
    _many_workers(case, count, at_once=count, rounds=20)


def _many_workers(case: _Case, count: int, *, at_once: int, rounds: int) -> None:
    alive = case.nursery.alive
    started = 0
    while started < count or alive:
        while started < count and len(alive) < at_once:
            log = case.place.new_log()
            spec = case.place.child("work", kinds=["plain"], log=log, rounds=rounds, slots=200)
            case.nursery.start(**spec)
            started += 1
        ended = case.nursery.wait(_ENDING_S)
        if ended is None or ended.status:
            case.blame(f"a worker ended with {ended}")
            break
    case.check(nobody_died=True)


def _many_tools(case: _Case) -> None:
    """Five thousand tools in one worker: rings of their own, then one for all."""
    tools = int(5000 * case.share)
    case.work("every tool", rounds=tools, slots=tools)
    case.check(nobody_died=True)
