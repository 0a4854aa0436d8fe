"""
Whether more of one tool's calls fail than usual: its rate (see `rates`), with an alarm around it.

Looked at whenever an interval ends, however few its calls: the likelihood knows their worth.
"""

from __future__ import annotations

import msgspec

from .alarm import OPEN_WEIGHT, Alarm, Reason, Verdict
from .rates import Rate

__all__ = ["ErrorRate"]


class ErrorRate(msgspec.Struct, array_like=True):
    """What is known of one tool's errors."""

    rate: Rate = msgspec.field(default_factory=Rate)
    alarm: Alarm | None = None

    def look(self, calls: int, errors: int, start_s: float, at_s: float) -> Verdict | None:
        """Take in *errors* of *calls* between the two times; mostly nothing follows."""
        rate, length_s = self.rate, at_s - start_s
        is_worse = rate.add(calls, errors, start_s)
        verdict: Verdict | None = None
        if self.alarm is not None:
            verdict = self._look_for_end(self.alarm, calls, errors, at_s, length_s)
        elif is_worse:
            self.alarm = Alarm("errors", rate.since_s, at_s)
            now = rate.now_hits / rate.now_calls
            verdict = Verdict(self.alarm, True, "worse", at_s, rate.usual, now, rate.now_calls)
        weight = 1.0 if self.alarm is None else OPEN_WEIGHT
        self.rate.follow(calls, errors, length_s, weight)
        return verdict

    def end(self) -> Alarm | None:
        """End the alarm without a look; what it was."""
        alarm, self.alarm = self.alarm, None
        if alarm is not None:
            self.rate.calm_down()
        return alarm

    def _look_for_end(
        self, alarm: Alarm, calls: int, errors: int, at_s: float, length_s: float
    ) -> Verdict | None:
        is_new = alarm.last(length_s)
        if not (self.rate.recover(calls, errors) or is_new):
            return None
        usual = self.rate.usual
        self.end()
        reason: Reason = "usual again"
        if is_new:
            self.rate, reason = Rate(), "new usual"
        return Verdict(alarm, False, reason, at_s, usual, errors / calls, calls)
