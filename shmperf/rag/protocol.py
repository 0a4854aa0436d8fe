"""What a vector store must be able to do to hold performance summaries: take them, give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

__all__ = ["PerfStore"]


class PerfStore(Protocol):
    """A store of artifacts in which each has a name and may have a ``perf_summary``."""

    def update_perf(self, summaries: Mapping[str, Mapping[str, object]]) -> int:
        """
        Merge metadata.perf_summary of the artifacts whose name is a key.

        In as few requests as the store allows. Returns how many names were not found.
        """

    def read_perf(self, names: Iterable[str]) -> dict[str, dict[str, object]]:
        """Stored summaries by name; names without one are left out."""
