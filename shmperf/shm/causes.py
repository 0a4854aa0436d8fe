"""Why a call has no record and what else goes wrong, each with its counter in the segment."""

from __future__ import annotations

__all__ = ["FAULTS", "LOSSES", "Fault", "Loss"]


class Loss:
    """
    Why a call that ran has no record.

    NO_MEMORY and NO_ROW are of calls that occupied no row: they begin and end in their counter.
    INTERNAL is a failure in the middle of tracking, of an allocation perhaps.
    """

    RING_FULL = 0
    NO_MEMORY = 1
    RE_ENTERED = 2
    TOO_LARGE = 3
    NO_ROW = 4
    INTERNAL = 5


class Fault:
    """What else went wrong in a worker."""

    UNKNOWN_ID = 0
    ENDED_TWICE = 1
    REPR_FAILED = 2
    CAPTURE_FAILED = 3
    METADATA_FAILED = 4
    TOO_MANY_CALLEES = 5
    INTERNAL = 6
    NO_NAME = 7
    NO_CONTEXT = 8


# By their numbers.
LOSSES = tuple(name.lower() for name in vars(Loss) if name.isupper())
FAULTS = tuple(name.lower() for name in vars(Fault) if name.isupper())
