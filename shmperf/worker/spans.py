"""
The span of OpenTelemetry in which a root call begins: its parent, where there is one.

Only calls without a parent of ours are asked, and only once ``opentelemetry`` was imported, by
whoever: nothing here imports it. Until then `Spans.root` is 0, the number that a root's row gets as
its parent anyway; from then on it is None, which no row takes, and whoever begins the call asks
`Spans.above` instead. Whether it has been imported is looked at where a call goes the long way, and
where a ring's grant is renewed.

A span counts when it is recording: of one that is not, nobody would find the parent.
"""

from __future__ import annotations

import sys
from typing import Any

from shmperf.shm.remote import Remote

from .failures import is_programs
from .remotes import Remotes

__all__ = ["Spans", "spans"]

_API = "opentelemetry.trace"


class Spans:
    """What the present span is, for roots; any thread."""

    __slots__ = ("_current_span", "_remotes", "root")

    def __init__(self) -> None:
        # Any, as a row takes it or does not.
        self.root: Any = 0
        self._current_span: Any = None
        self._remotes: Remotes | None = None

    def __reduce__(self) -> str:
        # Where it is sent to, with a function that knows it, there is another one.
        return "spans"

    def open(self, remotes: Remotes) -> None:
        """Contexts that calls are begun under are written down in *remotes* from now on."""
        self._remotes = remotes
        self.look()

    def look(self) -> None:
        """See whether the API has been imported, whole."""
        if self.root == 0 and _API in sys.modules:
            self._current_span = getattr(sys.modules[_API], "get_current_span", None)
            if self._current_span is not None:
                self.root = None

    def above(self) -> int:
        """The id of the span that is recording in this context; 0 for none."""
        if self.root == 0 and _API not in sys.modules:
            return 0
        try:
            self.look()
            if self._current_span is None or self._remotes is None:
                return 0
            span = self._current_span()
            if not span.is_recording():
                return 0
            context = span.get_span_context()
            if not context.is_valid:
                return 0
            trace, own = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
            return self._remotes.mention(Remote(trace, own))
        except Exception as error:
            # A library's span is foreign, and so is what it raises: no parent.
            if is_programs(error):
                raise
            return 0


spans = Spans()
