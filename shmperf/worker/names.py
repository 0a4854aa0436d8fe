"""What a process says once of the names that its tools have been given."""

from __future__ import annotations

from collections.abc import Collection

from shmperf.errors import tell

__all__ = ["tell_of_names"]


def tell_of_names(names: Collection[str]) -> None:
    """Tell, if *names* seem to hold what belongs into parameters; off every hot path."""
    # Needed by nobody who records few tools.
    from shmperf.analysis.names import advice_for, varying  # noqa: PLC0415

    found = varying(names)
    if found:
        tell(advice_for(found[0]))
