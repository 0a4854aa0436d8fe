"""
Section 8: nothing goes wrong but that there is much of it: every one of very many calls is there.

What loses one call in ten thousand shows in no batch of a few hundred.
"""

from __future__ import annotations

from .books import Rules, Tally, check
from .campaign import KEEP_ALL, Campaign

__all__ = ["flood"]

_ROOMY = KEEP_ALL + "ring: {budget_bytes: 67108864}\n"
_ROUNDS = 300
_CALLS_A_ROUND = 300


def flood(campaign: Campaign, seconds: float) -> Tally:
    """Workers that call as fast as they can, until the time is up; at least one."""
    tally = campaign.begin(seconds, "flood")
    number = 0
    while not number or not campaign.is_over:
        with campaign.place(tally, _ROOMY) as place:
            spec = place.child("work", kinds=["burst"], log=place.new_log(), rounds=_ROUNDS)
            ended = campaign.nursery.run(**spec, slots=_ROUNDS * _CALLS_A_ROUND)
            tally.tried += 1
            if ended.has_failed:
                tally.blame(f"the worker ended with {ended.status}")
            if not place.end_sessions(campaign.nursery):
                tally.blame("a session did not end")
            check(tally, place, f"flood {number}", Rules(nobody_died=True))
        number += 1
    return tally
