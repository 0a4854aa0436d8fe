"""
Section 7: founders, joiners, leaving collectors and sweeps that race, on one storage and on many.

Short-lived workers come and go without a pause between; they, the collectors that serve them and
the sweeps are killed, stopped or slowed down at the points of joining and leaving. No call may be
stranded, no live session swept, and no storage have two collectors at once.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .books import Rules, Tally, check
from .campaign import KEEP_ALL, Campaign, Sample
from .nursery import Ended
from .place import Place, unexpected, wait_until
from .points import points_in

__all__ = ["come_and_go"]

# Where joining, leaving, starting and sweeping happen.
_POINTS = points_in(
    "session/session.py",
    "session/membership.py",
    "session/settings.py",
    "session/rendezvous.py",
    "session/files.py",
    "session/presence.py",
    "collector/service.py",
    "shm/memory.py",
)
_AT_ONCE = 4
_BATCH = 60
_LONGEST_S = 20.0
# Who is killed between the making of its presence and the first word in it may be about to come for
# a minute, and so long a collector waits for it.
_LONGEST_WAIT_S = 90.0


def come_and_go(campaign: Campaign, seconds: float) -> Tally:
    """Batches until the time is up."""
    tally = campaign.begin(seconds, "coming and going")
    number = 0
    while not campaign.is_over:
        _take_samples(campaign, tally)
        with campaign.place(tally, KEEP_ALL) as place:
            batch = _Batch(campaign, tally, place, 1 if number % 2 else 4)
            batch.run()
            batch.check(f"batch {number}")
        number += 1
    return tally


_samples: dict[str, Sample] = {}


def _take_samples(campaign: Campaign, tally: Tally) -> None:
    """Which points of joining and leaving a founder, a collector and a sweep reach."""
    if _samples:
        return
    with campaign.place(tally, KEEP_ALL) as place:
        nursery = campaign.nursery
        census = place.path / "census"

        def count(pid: int) -> Sample:
            nursery.wait_for(pid, _LONGEST_S)
            counts = Counter(json.loads(census.read_text()))
            ours = {name: count for name, count in counts.items() if name in _POINTS}
            return Sample(Counter(ours))

        log = place.new_log()
        worker = place.child("work", kinds=["plain"], log=log, rounds=3, slots=256)
        _samples["work"] = count(nursery.start(**worker, census=str(census)))
        (session,) = place.sessions()
        for run in ("sweep", "embedded"):
            for process, _ in place.processes():
                os.kill(process, signal.SIGKILL)
            wait_until(lambda: not place.processes(), _LONGEST_S)
            spec = place.child(run, session=str(session), census=str(census))
            _samples[run] = count(nursery.start(**spec))


class _Batch:
    """Workers, collectors and sweeps in the same few storages."""

    def __init__(self, campaign: Campaign, tally: Tally, place: Place, storages: int) -> None:
        self._rng = campaign.rng
        self._nursery = campaign.nursery
        self._tally = tally
        self._place = place
        self._cwds = [place.cwd / f"{n}" for n in range(storages)]
        for cwd in self._cwds:
            (cwd / "config").mkdir(parents=True)
            (cwd / "config" / "tool_perf_limits.yaml").write_text(KEEP_ALL)
        self._logs: dict[Path, list[Path]] = {cwd: [] for cwd in self._cwds}
        self._traps: dict[int, list[Any] | None] = {}
        self._workers: set[int] = set()
        self._conts: list[tuple[float, int]] = []
        self._started: dict[int, float] = {}

    def run(self) -> None:
        """Start children, continue the stopped, until all have ended."""
        started = 0
        alive = self._nursery.alive
        while started < _BATCH or alive:
            while started < _BATCH and len(alive) < _AT_ONCE:
                self._start()
                started += 1
            ended = self._nursery.wait(0.02)
            if ended is not None:
                self._note(ended)
            now = time.monotonic()
            for due in [found for found in self._conts if found[0] <= now]:
                self._conts.remove(due)
                os.kill(due[1], signal.SIGCONT)
            have_workers = not self._workers.isdisjoint(self._started)
            for pid, since in list(self._started.items()):
                if have_workers and pid not in self._workers:
                    # A collector stays as long as anybody comes.
                    self._started[pid] = now
                elif now - since > (_LONGEST_S if pid in self._workers else _LONGEST_WAIT_S):
                    self._tally.blame(f"hung: {self._traps[pid]}")
                    self._started.pop(pid)
                    # It leaves its stack behind.
                    os.kill(pid, signal.SIGABRT)
            if started < _BATCH and self._rng.random() < 0.05:
                # Time for sessions to end in between.
                time.sleep(self._rng.random() * 1.2)

    def _start(self) -> None:
        rng, place = self._rng, self._place
        cwd = rng.choice(self._cwds)
        run = rng.choice(["work"] * 6 + ["embedded", "embedded", "sweep"])
        more: dict[str, Any] = {}
        if run == "work":
            log = place.new_log()
            self._logs[cwd].append(Path(log))
            more = {"kinds": ["plain"], "log": log, "rounds": rng.randrange(1, 12), "slots": 256}
        elif run == "embedded":
            sessions = place.sessions()
            if not sessions:
                run = "sweep"
            else:
                more = {"session": str(rng.choice(sessions))}
        action = rng.choice(["kill", "stop", "stop", "pause:0.05", "pause:0.7"])
        trap = _samples[run].draw(rng, action) if rng.random() < 0.8 else None
        spec = place.child(run, **more) | {"cwd": str(cwd)}
        pid = self._nursery.start(**spec, trap=trap)
        self._traps[pid] = trap
        if run == "work":
            self._workers.add(pid)
        self._started[pid] = time.monotonic()

    def _note(self, ended: Ended) -> None:
        trap = self._traps[ended.pid]
        if ended.is_stopped:
            pause_s = self._rng.choice([0.002, 0.05, 0.3, 1.0])
            self._conts.append((time.monotonic() + pause_s, ended.pid))
            return
        self._started.pop(ended.pid, None)
        if ended.has_failed:
            self._tally.blame(f"a child ended with {ended.status}: {trap}")
        if trap is not None:
            self._tally.tried += 1
            if ended.pid in self._workers:
                self._tally.worker_kills += ended.was_killed
            else:
                self._tally.collector_kills += ended.was_killed
            self._tally.points[trap[0]] += 1

    def check(self, what: str) -> None:
        """Everything has ended: each storage has every call of its workers."""
        if not self._place.end_sessions(self._nursery):
            self._tally.blame(f"{what}: a session did not end")
        for cwd, logs in self._logs.items():
            there = tuple(path for path in logs if path.exists())
            rules = Rules(storage=cwd / "perf_data", logs=there)
            check(self._tally, self._place, f"{what}, storage {cwd.name}", rules)
            if said := unexpected(cwd / "errors"):
                self._tally.blame(f"{what}: a child said: {said[-1500:]}")
