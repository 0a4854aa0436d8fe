"""Section 8: hours of ordinary work; nothing may grow, and at the end the books balance."""

from __future__ import annotations

import os
import time

import psutil

from shmperf.shm.memory import PREFIX, SHARED_MEMORY

from .books import Tally, check_books
from .campaign import Campaign
from .place import Place, wait_until

__all__ = ["soak"]

_CONFIG = "default_perf_points: 100\nstorage: {flush_interval_seconds: 1}\n"
_WORKERS = 4
_SLOTS = 4000
_SAMPLE_S = 2.0
_WARM = 0.25
_MORE_BYTES = 8 << 20


def soak(campaign: Campaign, seconds: float) -> Tally:
    """Workers that come and go around one collector that stays."""
    tally = campaign.begin(seconds, "soak")
    with campaign.place(tally, _CONFIG) as place:
        samples = _run(campaign, tally, place)
        if not place.end_sessions(campaign.nursery):
            tally.blame("a session did not end")
        check_books(tally, place.stats(), "soak")
    settled = samples[int(len(samples) * _WARM) :]
    if len(settled) < 4:
        tally.skipped.append(f"{len(samples)} samples are too few to see growth")
        return tally
    half = len(settled) // 2
    names = ("resident bytes", "descriptors", "segments", "files")
    for name, allowed, *column in zip(names, (_MORE_BYTES, 4, 4, 0), *settled, strict=True):
        early, late = max(column[:half]), max(column[half:])
        if late > early * 1.05 + allowed:
            tally.leaked += 1
            tally.blame(f"{name} grew from {early:,} to {late:,}")
    return tally


def _run(campaign: Campaign, tally: Tally, place: Place) -> list[tuple[int, int, int, int]]:
    nursery = campaign.nursery
    samples: list[tuple[int, int, int, int]] = []
    due_s = time.monotonic() + _SAMPLE_S
    while not campaign.is_over:
        while len(nursery.alive) < _WORKERS:
            kinds = [campaign.rng.choice(["plain", "steps", "many", "asyncio"])]
            spec = place.child("work", kinds=kinds, log=place.new_log(), slots=_SLOTS)
            nursery.start(**spec, pause_s=0.002)
            tally.tried += 1
        ended = nursery.wait(0.2)
        if ended is not None and ended.status:
            tally.blame(f"a worker ended with {ended.status}")
        for log in place.logs.iterdir():
            if time.time() - log.stat().st_mtime > 60.0:
                log.unlink()
        if time.monotonic() > due_s:
            due_s += _SAMPLE_S
            samples += _sample(place)
    wait_until(lambda: not nursery.alive or nursery.wait(1.0) is None, 60.0)
    return samples


def _sample(place: Place) -> list[tuple[int, int, int, int]]:
    """Resident bytes and descriptors of the collector, segments, files of the storage."""
    segments = sum(name.startswith(PREFIX) for name in os.listdir(SHARED_MEMORY))  # noqa: PTH208
    files = sum(1 for _ in place.storage.rglob("*"))
    try:
        ((pid, _),) = [found for found in place.processes() if "serve_embedded" in found[1]]
        process = psutil.Process(pid)
        return [(process.memory_info().rss, process.num_fds(), segments, files)]
    except (ValueError, psutil.Error):
        return []
