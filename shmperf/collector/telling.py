"""
When consumers of the outbox are told the totals of an interval: once it is closed, once each.

What was appended and how far the telling has come are in the same frame: killed before it, the
lines are cut back and written again; killed behind it, neither is done twice. Lines go chunk by
chunk, so 20,000 tools are many short pieces. While nobody is registered, intervals pass untold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from shmperf.storage.outbox import OutboxChange, totals_lines
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

__all__ = ["Telling"]


class Telling:
    """A part of `Flusher`; the collector's thread."""

    def __init__(
        self,
        ledger: Ledger,
        disk: Disk,
        mend: Callable[[], Iterator[None]],
        note: Callable[[OutboxChange], None],
        fault: Callable[[str, str, int], None],
    ) -> None:
        """
        *mend* goes before the first write after one that failed, *note* takes what is journalled.

        *fault* counts and tells what nobody will be told of.
        """
        # True while something that was due is left.
        self.is_behind = False
        # What the outbox may fill.
        self.most_bytes = 0
        self._ledger = ledger
        self._disk = disk
        self._mend = mend
        self._note = note
        self._fault = fault

    def choose(self) -> None:
        """What is closed is due."""
        self.is_behind = self._ledger.intervals.next_untold() is not None

    def give_up(self) -> None:
        """Nothing is due any more, until the next time."""
        self.is_behind = False

    def turn(self) -> Iterator[None]:
        """A piece of what is due; what was noted is to be journalled before the next step."""
        if not self.is_behind:
            return
        if self._disk.has_failed:
            yield from self._mend()
        # point below: totals-prepare
        prepared = self._disk.prepare({}, {}, self.most_bytes)
        if prepared is None:
            self.give_up()
            return
        if prepared.outbox is not None:
            self._note(prepared.outbox)
            yield  # point: totals-prepared
        if self._disk.outbox.is_wanted:
            yield from self._write()
            self.choose()
        else:
            self._ledger.intervals.pass_by()
            self.give_up()

    def _write(self) -> Iterator[None]:
        """The next chunk as lines; a write that fails leaves it for the next time."""
        intervals, outbox = self._ledger.intervals, self._disk.outbox
        untold = intervals.next_untold()
        if untold is None:
            return
        lines = totals_lines(untold.start_ns, untold.tools)
        # point below: totals-append
        appended = self._disk.thread.do(lambda: outbox.append(lines))
        if appended is None:
            return
        self._note(appended)
        intervals.tell(untold.position)  # point: totals-appended
        yield
        self._disk.commit_outbox()  # point: totals-committed
        if intervals.missed:
            text = "totals were merged into longer intervals before anybody could be told of them"
            self._fault("totals_untold", text, intervals.missed)
            intervals.missed = 0
