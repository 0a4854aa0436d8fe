"""
Failed calls of a batch: every one is counted, by fingerprint where it was caught, else by class.

The class stands in the body, so each failed call's is taken apart; decoded whole is only the first
of a group, which stands for the others.
"""

from __future__ import annotations

from msgspec.structs import replace

from shmperf.analysis.errorgroups import Bug
from shmperf.analysis.failedtimes import FailedTimes
from shmperf.analysis.failures import Failure
from shmperf.errors import ShmperfError
from shmperf.shm.record import (
    OUTCOMES,
    STATUS_BITS,
    UNTIMED_BIT,
    Body,
    Call,
    Outcome,
    Slot,
    parse_body,
    status_of,
)
from shmperf.shm.ring import Batch
from shmperf.storage.state import Ledger

from .bodies import Bodies, whole_body
from .drain import WorkerDrain
from .wallclock import WallClock

__all__ = ["Failed"]

_SAMPLE_CHARACTERS = 2_000
_FAILURES = (Outcome.ERROR, Outcome.TIMEOUT)


class Failed:
    """Counts what failed; the collector's thread."""

    def __init__(self, ledger: Ledger, bodies: Bodies, wall: WallClock) -> None:
        self._ledger = ledger
        self._bodies = bodies
        self._wall = wall

    def look(self, worker: WorkerDrain, tool: str, batch: Batch) -> None:
        """Count the failed calls of *batch*, all of one *tool*."""
        uncaught: dict[tuple[int, str | None], list[Slot]] = {}
        by_type: dict[str, list[Slot]] = {}
        for index, meta in enumerate(batch.metas):
            if not meta & STATUS_BITS:
                continue
            slot = batch.at(index)
            parsed = self._parsed(slot, worker)
            outcome = min(status_of(meta), Outcome.CANCELLED)
            if outcome in _FAILURES:
                by_type.setdefault(parsed.err or OUTCOMES[outcome], []).append(slot)
            if parsed.fingerprint is not None:
                self._add_bug(worker, tool, slot, parsed)
            else:
                uncaught.setdefault((outcome, parsed.err), []).append(slot)
        for error_type, slots in by_type.items():
            self._add_times(tool, error_type, slots)
        for (status, err), slots in uncaught.items():
            self._add_failures(worker, tool, (status, err), slots)

    def add_aborted(self, call: Call) -> None:
        """Count a call whose worker died."""
        start_ns = call.start_ns
        self._ledger.failures.add(
            Failure(call.tool, call.status, None, 1, start_ns, start_ns, call)
        )

    def _add_times(self, tool: str, error_type: str, slots: list[Slot]) -> None:
        timed = [slot for slot in slots if not slot[4] & UNTIMED_BIT]
        durations_ns = [slot[3] - slot[2] for slot in timed]
        ended_ns = self._wall.of(slots[-1][3])
        times = self._ledger.analyses.of(FailedTimes)
        times.add(tool, error_type, durations_ns, len(slots) - len(timed), ended_ns)

    def _add_failures(
        self, worker: WorkerDrain, tool: str, key: tuple[int, str | None], slots: list[Slot]
    ) -> None:
        starts_ns = [self._wall.of(slot[2]) for slot in slots]
        failures, sample = self._ledger.failures, None
        if failures.lacks_sample(tool, *key):
            sample = self._sample(slots[0], worker)
        failures.add(Failure(tool, *key, len(slots), min(starts_ns), max(starts_ns), sample))

    def _add_bug(self, worker: WorkerDrain, tool: str, slot: Slot, parsed: Body) -> None:
        fingerprint, at_ns = parsed.fingerprint or "", self._wall.of(slot[3])
        groups, sample = self._ledger.errors, None
        if parsed.where and groups.lacks_sample(fingerprint):
            sample = self._sample(slot, worker)
        is_first = int(bool(parsed.where))
        groups.add(fingerprint, Bug(is_first, at_ns, at_ns, [tool], sample, {tool: 1}))

    def _sample(self, slot: Slot, worker: WorkerDrain) -> Call:
        """The call in *slot*: of one recorded in detail, what a group of errors needs of it."""
        call = self._bodies.call_in(slot, worker, quietly=True)
        call.start_ns = self._wall.of(slot[2])
        if call.detail is not None:
            call.message, call.detail = call.detail.error, None
            call.params = call.params[:_SAMPLE_CHARACTERS]
        return call

    def _parsed(self, slot: Slot, worker: WorkerDrain) -> Body:
        """The body of *slot*; nothing where it is damaged, which is told when it is kept."""
        try:
            parsed = parse_body(slot[4], whole_body(slot, worker))
        except (ValueError, TypeError, ShmperfError):
            return Body()
        # A text without a class, which may be anything, stands for the class.
        err = parsed.err
        return replace(parsed, err=err and self._bodies.mask.text(err, is_cut=True))
