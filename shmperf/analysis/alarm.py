"""
An alarm while it is open, and what a look at a group may say of it.

    (none) ── worse ──► open ── usual again | new usual | no calls | forgotten ──► (none)

An alarm that has lasted a day is over whatever is seen: the new level is what is usual then.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import msgspec

__all__ = ["CALM_GROUPS", "OPEN_WEIGHT", "Alarm", "Reason", "Verdict", "What"]

What: TypeAlias = Literal["p50", "p95", "slow calls", "errors"]
Reason: TypeAlias = Literal["worse", "usual again", "new usual", "no calls", "forgotten"]

# How many calm groups end an alarm, at first.
CALM_GROUPS = 5
# What is seen during an alarm counts so much for what is usual.
OPEN_WEIGHT = 0.2

_SETTLED_S = 86_400.0


class Alarm(msgspec.Struct, array_like=True):
    """
    An open alarm: what is worse, since when, when it was noticed.

    Of its ``needed`` calm groups it has seen ``calm``; ``lasted_s`` counts time with calls.
    """

    what: What
    since_s: float
    at_s: float
    calm: int = 0
    needed: int = CALM_GROUPS
    lasted_s: float = 0.0

    @property
    def is_sound(self) -> bool:
        """False for times that are none."""
        return all(map(math.isfinite, (self.since_s, self.at_s, self.lasted_s)))

    def last(self, length_s: float) -> bool:
        """Last *length_s* longer; True when the new level has become the usual one."""
        self.lasted_s += length_s
        return self.lasted_s >= _SETTLED_S


class Verdict(NamedTuple):
    """
    An alarm begins, or ends for *reason*; *usual* and *now* are as `changes.Change` has them.

    *calls* are those of the look, 0 where there was none.
    """

    alarm: Alarm
    is_begin: bool
    reason: Reason
    at_s: float
    usual: float
    now: float
    calls: int
