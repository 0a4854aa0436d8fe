"""
What the journals of older versions held, in the form of today's.

    version 1    histograms of totals have buckets of base 2 in nanoseconds: `totals.in_seconds`

Payloads are taken apart without their types, changed and written again: the one reader that checks
them is that of today's form. What can't even be taken apart is left as it is, for that reader to
tell.
"""

from __future__ import annotations

from typing import Any

import msgspec

from shmperf.analysis.totals import Totals, in_seconds

from .journal import Recovered

__all__ = ["upgraded"]

_HISTOGRAM = Totals.__struct_fields__.index("histogram")


def upgraded(recovered: Recovered) -> Recovered:
    """*recovered* as a journal of today's version would hold it; it still says what it was."""
    if recovered.version > 1:
        return recovered
    snapshot = recovered.snapshot
    return recovered._replace(
        snapshot=None if snapshot is None else _from_1(snapshot),
        frames=[_from_1(payload) for payload in recovered.frames],
    )


def _from_1(payload: bytes) -> bytes:
    """A snapshot or a frame: both name what they hold, and hold totals under the same name."""
    try:
        fields: dict[str, Any] = msgspec.msgpack.decode(payload)
        for row in fields.get("totals", {}).values():
            row[_HISTOGRAM] = in_seconds(row[_HISTOGRAM])
        return msgspec.msgpack.encode(fields)
    except (msgspec.MsgspecError, ValueError, TypeError, AttributeError, LookupError):
        return payload
