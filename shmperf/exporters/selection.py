"""Which kept calls are exported: by tool and by time, with or without their parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from shmperf.storage.kept import KeptCall

__all__ = ["Selection", "parse_time"]

_RELATIVE = re.compile(r"-(\d+(?:\.\d+)?)([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_time(text: str, now: datetime) -> str:
    """
    A moment, as history writes it: an ISO time (UTC where it names no offset), or ``-10m``.

    Units are s, m, h, d and w, before *now*. Raises ValueError, which names what was expected.
    """
    try:
        relative = _RELATIVE.fullmatch(text)
        if relative:
            moment = now - timedelta(**{_UNITS[relative[2]]: float(relative[1])})
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC).isoformat(timespec="microseconds")
    except (ValueError, OverflowError):
        raise ValueError(f"found {text!r}, expected an ISO time or one like -10m") from None


class Selection(msgspec.Struct, kw_only=True):
    """
    What was asked for; ``count`` grows as calls are chosen.

    Times are texts as `parse_time` returns them: the start of a call lies at or after ``since`` and
    before ``until``.
    """

    since: str | None = None
    until: str | None = None
    parameters: bool = True
    count: int = 0

    def choose(self, calls: Iterable[KeptCall]) -> Iterator[KeptCall]:
        """The calls of *calls* that were asked for, one at a time."""
        for call in calls:
            if self.since is not None and call.timestamp < self.since:
                continue
            if self.until is not None and call.timestamp >= self.until:
                continue
            if not self.parameters:
                call.params = None
            self.count += 1
            yield call
