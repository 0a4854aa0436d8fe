"""What went wrong in the collector: counted by cause, and the last of each kind in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["Faults"]


class Faults:
    """The collector's own counters of faults; the collector's thread."""

    def __init__(self) -> None:
        self.told: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def count(self, cause: str, text: str, count: int = 1) -> None:
        """Count *cause*, and keep *text* for `status`."""
        self._counts[cause] = self._counts.get(cause, 0) + count
        self.told[cause] = text

    def guard(self, what: str, action: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Run one part of a step; what it raises is counted and shown, and the cycle goes on."""
        try:
            action(*args, **kwargs)
        except Exception as error:  # noqa: BLE001  the one guard of the cycle
            self.count(what, f"{type(error).__name__}: {error}")

    def carry_on(self, counts: Mapping[str, int]) -> None:
        """Add what a former collector had counted."""
        for cause, count in counts.items():
            self._counts[cause] = self._counts.get(cause, 0) + count

    def mended(self, cause: str) -> None:
        """What was told of *cause* holds no more; its count stays."""
        self.told.pop(cause, None)

    def news(self, known: Mapping[str, int]) -> dict[str, int]:
        """The counters that *known* has otherwise, as they are now."""
        return {c: n for c, n in self._counts.items() if known.get(c) != n}
