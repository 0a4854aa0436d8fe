"""
The file of exemplars, brought up to date a step at a time: it is a copy of what the journal holds.

Whoever waits for a flush waits for a copy of all that was there when it was asked for. A copy that
was begun before may be older than that: then another one is due behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shmperf.analysis.exemplars import Exemplars
from shmperf.errors import StoreError
from shmperf.storage.exemplarfile import EXEMPLARS
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

__all__ = ["Copying"]


class Copying:
    """Numbers are those of `Flusher`; the collector's thread."""

    def __init__(self, ledger: Ledger, disk: Disk, fault: Callable[[str, str, int], None]) -> None:
        """*fault* counts and tells what can't be written."""
        self._ledger = ledger
        self._disk = disk
        self._fault = fault
        # Which of them, and at what revision, are in the file, or on their way into it.
        self._copied: tuple[Exemplars, int] | None = None
        self._steps: Iterator[None] | None = None
        self._due: list[int] = []

    @property
    def is_stale(self) -> bool:
        """True when exemplars have changed since the newest copy was begun."""
        exemplars = self._ledger.exemplars
        return self._copied != (exemplars, exemplars.revision)

    @property
    def is_behind(self) -> bool:
        """True while a copy is due."""
        return bool(self._due)

    def make_due(self, number: int) -> None:
        """A copy of what is there now is due, unless one is that has not been begun."""
        if self._steps is None and self._due:
            return
        self._due.append(number)

    def has_reached(self, number: int) -> bool:
        """True once the copies that were due at *number* are made."""
        return not self._due or self._due[0] > number

    def give_up(self) -> None:
        """No copy is due any more, and the one that was begun is none."""
        self._due.clear()
        if self._steps is not None:
            self._steps, self._copied = None, None

    def step(self) -> None:
        """A step of the copy that is due."""
        if not self._due:
            return
        if self._steps is None:
            exemplars = self._ledger.exemplars
            self._copied = exemplars, exemplars.revision
            self._steps = self._disk.copy_exemplars(exemplars)
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None  # point: flush-exemplars
            self._due.pop(0)
            if self._disk.is_unavailable():
                self._copied = None
        except StoreError as error:
            self._steps = None
            self._due.pop(0)
            self._fault("exemplars_failed", f"{EXEMPLARS} can't be written: {error}", 1)

    def erase(self) -> None:
        """Remove the file, when there are no exemplars any more."""
        if self._ledger.exemplars.known or not self.is_stale:
            return
        self.give_up()
        self.make_due(0)
        while self._due:
            self.step()
