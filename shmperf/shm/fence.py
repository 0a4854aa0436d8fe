"""
In which order others see a processor's stores, and what is done where that is not their own.

On x86-64 others see stores in the order in which they were made. Elsewhere, as on aarch64, a slot's
position could be seen before its payload, which one of two disciplines makes harmless. A segment's
header says which is its writer's, and who reads goes by that, whatever its own build:

    segment     slots are stored                  and read
    unsealed    on x86-64: by any                 by any
                elsewhere: in C, the position     in C, which acquires the position, or with a fence
                last, by a release store          between positions and payload
    sealed      by Python, with a checksum        by Python, again until the checksum fits

Rows of open calls carry no checksum and are copied without a fence: there the words beside an id
may be a former call's for some nanoseconds, though C's stores of ids release them.
"""

from __future__ import annotations

from typing import Any

from shmperf.compiled.chosen import hot
from shmperf.stdlib import RLock, os

from .record import SLOT

__all__ = ["PUBLISHED", "REORDERS", "SEALS", "fence", "needs_seal", "published", "reorders"]


def reorders(machine: str) -> bool:
    """True for machines where a later store may be seen before an earlier one."""
    return machine not in {"x86_64", "AMD64", "i686"}


def needs_seal(machine: str, compiled: Any) -> bool:
    """True where slots that are stored with *compiled*, the extension or None, need a checksum."""
    return compiled is None and reorders(machine)


def published(machine: str, compiled: Any) -> Any:
    """`SLOT`, or what packs the same bytes and releases them by the position."""
    return compiled.Slot() if compiled is not None and reorders(machine) else SLOT


_MACHINE = os.uname().machine
REORDERS = reorders(_MACHINE)
# What workers pack their slots with.
PUBLISHED = published(_MACHINE, hot)
# The discipline of this process's own segment.
SEALS = needs_seal(_MACHINE, hot)


def fence() -> None:
    """
    Keep what this thread has read and stored before apart from what it reads and stores after.

    Taking a lock keeps back what comes after, giving it back what came before; between the two both
    may still meet, so one lock taken once is no fence. But no processor takes one (an acquire)
    before it has given back another (a release), so two in turn are. The lock is nobody else's:
    nobody is waited for, and whoever interrupts this may do the same.
    """
    lock = RLock()
    for _ in range(2):
        with lock:
            pass
