"""
From a bucket of a histogram to the span of a call in it: the exemplars of a session's metrics.

What is known is kept from one scrape to the next, and only what has changed since is asked for: of
a thousand tools few get a new slowest or a new failed call between two scrapes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from shmperf.analysis.bucketcalls import BucketCall, BucketNews
from shmperf.storage.origin import origin_of

from .otlp import ids_of

__all__ = ["ByTool", "Traced", "Traces"]


class Traced(NamedTuple):
    """A call by its span: how long it took, and when it ended (Unix seconds)."""

    trace_id: str
    span_id: str
    value_s: float
    at_s: float

    @property
    def labels(self) -> dict[str, str]:
        """As OpenTelemetry's receivers look for them."""
        return {"trace_id": self.trace_id, "span_id": self.span_id}


# By tool, type of error and octave of the duration (see `BucketCall`).
ByTool = Mapping[str, Mapping[str, Mapping[int | None, Traced]]]


class Traces:
    """Those of one session, or of one storage; any threads."""

    def __init__(self) -> None:
        self._known: dict[str, dict[str, dict[int | None, Traced]]] = {}
        self._revision = -1
        self._origin = b""
        self._turn = threading.Lock()

    def follow(self, storage: Path, ask: Callable[[int], BucketNews]) -> ByTool:
        """All that are known once *ask* has said what has changed after a revision."""
        with self._turn:
            news = ask(self._revision)
            if news.is_all or not self._origin:
                self._origin = origin_of(storage)
            known = {} if news.is_all else self._known
            if news.tools or news.is_all:
                # Another thread may be reading what was handed out before.
                new = {tool: self._traced(found) for tool, found in news.tools.items()}
                self._known = known | new
            self._revision = news.revision
            return self._known

    def _traced(self, calls: Iterable[BucketCall]) -> dict[str, dict[int | None, Traced]]:
        found: dict[str, dict[int | None, Traced]] = {}
        for one in calls:
            trace, span = ids_of(one.id, one.root, one.remote, self._origin)
            traced = Traced(trace.hex(), span, one.duration_ns / 1e9, one.ended_ns / 1e9)
            found.setdefault(one.error_type, {})[one.octave] = traced
        return found
