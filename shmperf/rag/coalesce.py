"""
When a summary is worth sending: the newest for each tool, at most once an interval.

    offer ──► waiting ──► due ──► sent          the same summary again: nothing waits
                 ▲                  │
                 └───── failed ─────┘           unless a newer one waits already

What was sent stays known, so that a tool that rests costs the store nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

__all__ = ["Coalescer"]


class Coalescer:
    """
    The newest summary of each tool, handed out at most once in *interval_s* seconds.

    One thread. *clock* gives seconds that never go back, as ``time.monotonic`` does. Holds one
    summary that waits and one that was sent for each tool ever offered.
    """

    def __init__(self, interval_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._waiting: dict[str, dict[str, object]] = {}
        self._sent: dict[str, dict[str, object]] = {}
        self._sent_at: dict[str, float] = {}

    @property
    def waiting(self) -> set[str]:
        """The tools that have a summary which waits to be sent."""
        return set(self._waiting)

    def offer(self, name: str, summary: Mapping[str, object]) -> None:
        """Take a tool's newest summary; it waits unless the store has just this one already."""
        newest = dict(summary)
        if self._sent.get(name) == newest:
            self._waiting.pop(name, None)
        else:
            self._waiting[name] = newest

    def due(self, interval_s: float | None = None) -> dict[str, dict[str, object]]:
        """
        The summaries to send now, by tool: they moved, and their last sending is an interval ago.

        *interval_s* holds instead of the usual one, this time.
        They count as sent; name in ``failed`` those that did not arrive.
        """
        now = self._clock()
        least_s = self._interval_s if interval_s is None else interval_s
        ready = {
            name: summary
            for name, summary in self._waiting.items()
            if name not in self._sent_at or now - self._sent_at[name] >= least_s
        }
        for name, summary in ready.items():
            del self._waiting[name]
            self._sent[name] = summary
            self._sent_at[name] = now
        return {name: dict(summary) for name, summary in ready.items()}

    def failed(self, names: Iterable[str]) -> None:
        """
        Let the summaries last sent under *names* wait again, unless a newer one does already.

        The interval holds for a second try too. Names that were never sent are passed over.
        """
        for name in names:
            # What the store holds is not known any more: even the same summary must be sent.
            summary = self._sent.pop(name, None)
            if summary is not None:
                self._waiting.setdefault(name, summary)
