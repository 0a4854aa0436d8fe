"""
What the journals of older versions held, in the form of today's.

    version 1    histograms of totals have buckets of base 2 in nanoseconds: `totals.in_seconds`;
                 what analyses know are fields of their own, and have no versions
    version 2    as today's, with fewer fields: what is missing has its default

Payloads are taken apart without their types, changed and written again: the one reader that checks
them is that of today's form. What can't even be taken apart is left as it is, for that reader to
tell.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec

from shmperf.analysis.totals import Totals, in_seconds

from .journal import Recovered

__all__ = ["upgraded"]

_ANALYSES = {"totals": "totals.1", "tree": "tree.1", "bugs": "errors.1", "unusual": "unusual.1"}
_HISTOGRAM = Totals.__struct_fields__.index("histogram")


def upgraded(recovered: Recovered) -> Recovered:
    """*recovered* as a journal of today's version would hold it; it still says what it was."""
    if recovered.version > 1:
        return recovered
    snapshot = recovered.snapshot
    return recovered._replace(
        snapshot=None if snapshot is None else _from_1(snapshot, is_snapshot=True),
        frames=[_from_1(payload, is_snapshot=False) for payload in recovered.frames],
    )


def _from_1(payload: bytes, *, is_snapshot: bool) -> bytes:
    """A snapshot or a frame: both name what they hold, and use the same names."""
    try:
        fields = msgspec.msgpack.decode(payload, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError):
        return payload
    # What is no histogram is told by today's reader.
    with contextlib.suppress(msgspec.MsgspecError, ValueError, TypeError, LookupError):
        fields["totals"] = _totals_in_seconds(fields.get("totals", {}))
    found = {key: fields.pop(name, None) for name, key in _ANALYSES.items()}
    found = {key: value for key, value in found.items() if value is not None}
    fields["analyses"] = {k: (v, []) for k, v in found.items()} if is_snapshot else found
    return msgspec.msgpack.encode(fields)


def _totals_in_seconds(totals: Any) -> dict[str, list[Any]]:
    rows = msgspec.convert(totals, type=dict[str, list[Any]])
    for row in rows.values():
        row[_HISTOGRAM] = in_seconds(msgspec.convert(row[_HISTOGRAM], type=dict[int, int]))
    return rows
