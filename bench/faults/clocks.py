"""Section 6: wall clocks that jump, machines that were suspended, calls that last for days."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from shmperf.errors import ShmperfError
from shmperf.session.client import Client
from shmperf.session.messages import Stats
from shmperf.storage.reading import read

from .books import Rules, Tally, check
from .campaign import Campaign
from .place import Place, wait_until

__all__ = ["turn_clocks"]

_NAME = "campaign"
_ENDING_S = 30.0
_STEPS_S = ([0.0, 3600.0], [0.0, -3600.0, 5.0], [86_400.0, 0.0], [0.0, -1e8, 1e8], [0.5, -0.5])
_DAYS = (0.5, 1.0, 30.0, 400.0)


def turn_clocks(campaign: Campaign, seconds: float) -> Tally:
    """Every course of the wall clock once, calls of days, and again until the time is up."""
    tally = campaign.begin(seconds, "time")
    first = True
    while first or not campaign.is_over:
        for steps_s in _STEPS_S:
            if first or not campaign.is_over:
                with campaign.place(tally) as place:
                    _step(campaign, tally, place, steps_s)
                tally.tried += 1
        with campaign.place(tally) as place:
            _last(campaign, tally, place)
        tally.tried += len(_DAYS)
        first = False
    return tally


def _step(campaign: Campaign, tally: Tally, place: Place, steps_s: list[float]) -> None:
    place.environ["SHMPERF_SESSION"] = _NAME
    what = f"steps {steps_s}"
    nursery = campaign.nursery
    collector = nursery.start(**place.child("collect", clock_steps_s=steps_s))
    session = place.runtime / "shmperf" / f"n-{_NAME}"
    wait_until(session.exists, _ENDING_S)
    for _ in range(2):
        more: dict[str, Any] = {"log": place.new_log(), "rounds": 50, "pause_s": 0.05}
        ended = nursery.run(**place.child("work", kinds=["plain", "steps"], **more))
        if ended.status:
            tally.blame(f"{what}: a worker ended with {ended.status}")
    try:
        Client(session).ask(Stats(None), 10.0)
    except ShmperfError as error:
        tally.blame(f"{what}: {error}")
    wait_until(lambda: not place.presences(), _ENDING_S)
    os.kill(collector, signal.SIGTERM)
    ended_collector = nursery.wait_for(collector, _ENDING_S)
    if ended_collector is None or ended_collector.status:
        tally.blame(f"{what}: the collector ended with {ended_collector}")
    check(tally, place, what, Rules(nobody_died=True))
    for line in _lines(place):
        data = line["data"]
        if not 0 <= data["d"] < _ENDING_S or abs(data["e"] - data["s"] - data["d"]) > 1e-3:
            tally.blame(f"{what}: {data} has changed its duration")


def _last(campaign: Campaign, tally: Tally, place: Place) -> None:
    spec = place.child("work long", log=place.new_log(), days=list(_DAYS))
    ended = campaign.nursery.run(**spec)
    if ended.status:
        tally.blame(f"calls of days: a worker ended with {ended.status}")
    place.end_sessions(campaign.nursery)
    check(tally, place, "calls of days", Rules(nobody_died=True))
    for line in _lines(place):
        days = json.loads(line["data"]["p"])["days"]
        if abs(line["data"]["d"] - days * 86_400) > 5.0:
            tally.blame(f"calls of days: {line['data']}")
        if abs(line["data"]["s"] - time.time()) > 3600.0:
            tally.blame(f"calls of days: started at {line['timestamp']}")


def _lines(place: Place) -> list[dict[str, Any]]:
    return list(read(place.storage))
