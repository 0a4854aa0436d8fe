"""Why a call has no record and what else goes wrong, each with its counter in the segment."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["FAULTS", "LOSSES", "Fault", "Loss"]


class Loss(IntEnum):
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


class Fault(IntEnum):
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


LOSSES = tuple(cause.name.lower() for cause in Loss)
FAULTS = tuple(cause.name.lower() for cause in Fault)
