"""
From a histogram's bucket to a call in it: what metrics need of exemplars, and no more.

Of a tool's exemplars it is the latest one of each type of error and octave of durations. Whoever
asks again gets the tools that have changed.
"""

from __future__ import annotations

import msgspec

from shmperf.shm.record import OUTCOMES, Call

from .exemplars import Exemplar, Exemplars, is_failed
from .totals import SCALE, bucket_of

__all__ = ["BucketCall", "BucketNews", "bucket_news"]


class BucketCall(msgspec.Struct, array_like=True):
    """
    A call, by its id, the id of its root, 0 for itself, or somebody else's trace.

    ``error_type`` is empty where it went well; ``ended_ns`` is wall time.
    """

    id: int
    root: int
    remote: str
    error_type: str
    duration_ns: int
    ended_ns: int

    @property
    def octave(self) -> int | None:
        """The power of two, in seconds, below its duration; None where it took no time at all."""
        return bucket_of(self.duration_ns) >> SCALE if self.duration_ns > 0 else None


class BucketNews(msgspec.Struct, kw_only=True):
    """Calls of tools that have changed after a revision; *is_all* when others are forgotten."""

    revision: int = 0
    is_all: bool = True
    tools: dict[str, list[BucketCall]] = {}


def bucket_news(exemplars: Exemplars, after: int) -> BucketNews:
    """What has changed after the revision *after* of any process; -1: all."""
    is_all, changed = exemplars.changed_after(after)
    tools = {tool: _latest(found) for tool, found in changed.items()}
    return BucketNews(revision=exemplars.revision, is_all=is_all, tools=tools)


def _latest(exemplars: list[Exemplar]) -> list[BucketCall]:
    calls = [_bucket_call(one.call) for one in exemplars if one.call.duration_ns is not None]
    calls.sort(key=lambda one: (one.ended_ns, one.id))
    return list({(one.error_type, one.octave): one for one in calls}.values())


def _bucket_call(call: Call) -> BucketCall:
    failed = (call.err or OUTCOMES[call.status]) if is_failed(call) else ""
    return BucketCall(call.id, call.trace, call.remote, failed, call.duration_ns or 0, call.end_ns)
