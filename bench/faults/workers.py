"""Section 1: workers killed at random instants and at every point of the way of a record."""

from __future__ import annotations

import heapq
import json
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from .books import Rules, Tally, check
from .campaign import IN_DETAIL, KEEP_ALL, Campaign, Sample
from .children import KINDS
from .nursery import Ended
from .place import Place

__all__ = ["kill_workers"]

_AT_ONCE = 3
_BATCH = 60
_LONGEST_LIFE_S = 0.02
_LONGEST_TRAPPED_S = 20.0
_SAMPLED = KEEP_ALL + "sampling: {every: 3}\n"
_NAMED = {IN_DETAIL: ", detail", _SAMPLED: ", sampled"}
_HOOKED = [kind for kind in KINDS if kind not in ("bare forks", "every tool")]


def kill_workers(campaign: Campaign, seconds: float) -> Tally:
    """Batches of kills until the time is up."""
    tally = campaign.begin(seconds, "worker kills")
    started = ["fork", "fork", "bare forks", "spawn", "forkserver"]
    number = 0
    while not campaign.is_over:
        way = "fork" if number % 2 == 0 else started[number // 2 % len(started)]
        config = (KEEP_ALL, _SAMPLED, IN_DETAIL)[number % 3]
        if config is _SAMPLED and way == "bare forks":
            config = KEEP_ALL
        number += 1
        take_samples(campaign, tally, config)
        what = f"batch {number} ({way}{_NAMED.get(config, '')})"
        with campaign.place(tally, config) as place:
            exempt: frozenset[int] = frozenset()
            if way in ("spawn", "forkserver"):
                _kill_below(campaign, tally, place, (way, config))
            else:
                exempt = _Batch(campaign, tally, place, (way, config)).run(_BATCH)
            if not place.end_sessions(campaign.nursery):
                tally.blame(f"{what}: a session did not end")
            check(tally, place, what, Rules(exempt=exempt, is_sampled=config is _SAMPLED))
    return tally


_samples: dict[tuple[str, str], Sample] = {}
_FOUNDING = "founding"


def take_samples(campaign: Campaign, tally: Tally, config: str) -> None:
    """Find out which points every kind of worker reaches, and which the one that comes first."""
    if (_FOUNDING, config) in _samples:
        return
    with campaign.place(tally, config) as place:
        for kind in ("plain", *KINDS):
            census = place.path / "census"
            spec = place.child("work", kinds=[kind], log=place.new_log(), rounds=12, slots=256)
            campaign.nursery.run(**spec, census=str(census))
            name = kind if (_FOUNDING, config) in _samples else _FOUNDING
            _samples[name, config] = Sample(Counter(json.loads(census.read_text())))
            census.unlink()


class _Batch:
    """Children of the nursery, a few at once, each with a trap or a moment to die."""

    def __init__(
        self, campaign: Campaign, tally: Tally, place: Place, way_and_config: tuple[str, str]
    ) -> None:
        self._rng = campaign.rng
        self._nursery = campaign.nursery
        self._tally = tally
        self._place = place
        self._way, self._config = way_and_config
        self._due: list[tuple[float, int]] = []
        self._traps: dict[int, list[Any] | None] = {}
        self._bare: set[int] = set()

    def run(self, count: int) -> frozenset[int]:
        """*count* children and their ends; the pids of those that fork without a hook."""
        alive = self._nursery.alive
        started = 0
        while started < count or alive:
            while started < count and len(alive) < _AT_ONCE:
                self._start(started)
                started += 1
            while self._due and self._due[0][1] not in alive:
                heapq.heappop(self._due)
            left_s = self._due[0][0] - time.monotonic() if self._due else 1.0
            ended = self._nursery.wait(left_s)
            if ended is not None:
                self._note(ended)
            elif self._due:
                self._kill(heapq.heappop(self._due)[1])
        return self._spoilt()

    def _start(self, number: int) -> None:
        rng = self._rng
        kind = rng.choice(_HOOKED)
        if self._way == "bare forks" and number % 4 == 0:
            kind = "bare forks"
        trap = None
        if rng.random() < 0.75:
            trap = _samples[kind if number else _FOUNDING, self._config].draw(rng, "kill")
        log = self._place.new_log()
        more = {"kinds": [kind], "log": log, "seed": rng.getrandbits(30), "waits": trap is None}
        pid = self._nursery.start(**self._place.child("work", **more), trap=trap, slots=256)
        self._traps[pid] = trap
        if kind == "bare forks":
            self._bare.add(pid)
        life_s = rng.random() * _LONGEST_LIFE_S if trap is None else _LONGEST_TRAPPED_S
        heapq.heappush(self._due, (time.monotonic() + life_s, pid))

    def _note(self, ended: Ended) -> None:
        trap = self._traps[ended.pid]
        self._tally.tried += ended.was_killed
        self._tally.worker_kills += ended.was_killed
        if trap is not None and ended.was_killed:
            self._tally.points[trap[0]] += 1
        if ended.has_failed:
            self._tally.blame(f"a worker ended with {ended.status}: {trap}")

    def _kill(self, pid: int) -> None:
        if self._traps[pid] is not None:
            self._tally.blame(f"a worker hung: {self._traps[pid]}")
        os.kill(pid, signal.SIGKILL)

    def _spoilt(self) -> frozenset[int]:
        # The forks' own children have pids of their own; their logs lie beside their parents'.
        found = set(self._bare)
        for path in self._place.logs.iterdir():
            if path.suffix and _pid_in(path.with_suffix("")) in self._bare:
                found.add(int(path.suffix[1:]))
        return frozenset(found)


def _kill_below(campaign: Campaign, tally: Tally, place: Place, way: tuple[str, str]) -> None:
    """Children of `multiprocessing`, started in another way than by fork."""
    rng = campaign.rng
    method, config = way
    below = []
    for _ in range(6):
        kinds = [rng.choice(_HOOKED)]
        trap = _samples[kinds[0], config].draw(rng, "kill")
        below.append({"log": place.new_log(), "below_trap": trap, "kinds": kinds})
    result = place.path / "result"
    ended = campaign.nursery.run(
        **place.child("work below", method=method, below=below, slots=256, result=str(result)),
    )
    if ended.has_failed:
        tally.blame(f"{method}: {ended.status}")
        return
    for code, spec in zip(json.loads(result.read_text()), below, strict=True):
        if code == -signal.SIGKILL:
            tally.tried += 1
            tally.worker_kills += 1
            tally.points[spec["below_trap"][0]] += 1
        elif code != 0:
            tally.blame(f"{method}: a worker ended with {code}")


def _pid_in(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return int.from_bytes(file.read(16)[8:], "little")
