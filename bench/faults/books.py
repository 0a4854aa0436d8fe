"""
The check after every batch: what the workers know of their calls against what shmperf says.

With a tool that keeps everything, each call that a worker saw return is on disk once, each that it
saw begin is there once, finished or aborted, and nothing else is there but calls that were killed
between their beginning and their first line. What is missing must have been counted as lost.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shmperf.shm.inflight import FIRST_UNRECORDED

from .log import Known, read_logs
from .place import Line, Place

__all__ = ["Least", "Rules", "Tally", "check", "check_books"]


# What balances the books where records are gone: no promise allows it.
_UNEXPLAINED = {"spoilt_records", "segment_gone"}


# What the campaign's tools are called with first, and those that are called with nothing of it.
_NUMBER = re.compile(r'"(?:slot|size|n)\\?":(\d+)')
_WITHOUT_NUMBER = ("tool number ", "long")


class Least(NamedTuple):
    """
    What a section does at least, or it has failed: faults a minute, and points it stops at.

    A tenth of what it does on a fast machine. One that is slower still, or has drawn badly, is
    given longer (`Campaign.is_over`).
    """

    a_minute: float
    points: int = 0


class Tally(msgspec.Struct):
    """A section's outcome."""

    section: str
    tried: int = 0
    lost: int = 0
    doubled: int = 0
    leaked: int = 0
    counted: int = 0  # calls that shmperf itself reports as lost: the promise allows them
    worker_kills: int = 0
    collector_kills: int = 0
    wrong: list[str] = []
    points: Counter[str] = msgspec.field(default_factory=Counter)
    skipped: list[str] = []

    @property
    def survived(self) -> int:
        """Faults after which everything was right."""
        return max(0, self.tried - len(self.wrong))

    @property
    def is_right(self) -> bool:
        """True when nothing at all was wrong."""
        return not (self.wrong or self.lost or self.doubled or self.leaked)

    def lacks(self, least: Least, seconds: float) -> str:
        """What the section has not done that it must in so many seconds; empty when nothing."""
        tried = max(1, int(least.a_minute * seconds / 60))
        if self.tried < tried:
            return f"only {self.tried} faults in {seconds:.0f} s: expected at least {tried}"
        if len(self.points) < least.points:
            reached = len(self.points)
            return f"only {reached} points were reached: expected at least {least.points}"
        return ""

    def blame(self, text: str) -> None:
        """Something was wrong."""
        self.wrong.append(text)


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch was, beyond the usual: workers that may all have been killed."""

    exempt: frozenset[int] = frozenset()  # pids whose records may have been spoilt
    storage: Path | None = None
    logs: tuple[Path, ...] | None = None
    nobody_died: bool = False  # then nothing is aborted
    may_be_off: bool = False  # tracking may have been told to be off
    is_sampled: bool = False  # most calls have no id, no record, and no row while they are open
    may_be_unnamed: bool = False  # calls made in the middle of a collection don't know their ids


def check(tally: Tally, place: Place, what: str, rules: Rules | None = None) -> Known:
    """Compare logs, history and statistics of a batch that is over; what is wrong goes to it."""
    rules = rules or Rules()
    storage = rules.storage or place.storage
    logs = place.logs.iterdir() if rules.logs is None else rules.logs
    known = read_logs([path for path in logs if _pid(path) not in rules.exempt])
    if not (storage / ".shmperf").is_dir():
        if known.begun and not rules.may_be_off:
            tally.lost += known.begun
            tally.blame(f"{what}: no storage at all, {known.begun} calls begun")
        return known
    stats = place.stats(storage)
    lines = list(place.lines(storage))
    times = Counter(call_id for call_id, *_ in lines)
    aborted = {line.id for line in lines if line.is_aborted}
    check_books(tally, stats, what)
    _check_params(tally, known, lines, what)
    if stats["lost"].keys() & _UNEXPLAINED and not rules.exempt:
        tally.blame(f"{what}: {stats['lost']} lost where nobody has spoilt or removed anything")
    if rules.exempt:
        _check_untouched(tally, known, times, stats, what)
        return known
    _check_lines(tally, known, times, aborted, what)
    if rules.is_sampled:
        if stats["aborted"] != len(aborted):
            tally.blame(f"{what}: aborted {stats['aborted']}, on disk {len(aborted)}")
        _check_sampled(tally, known, times, stats, what)
        return known
    _check_strangers(tally, known, lines, rules, what)
    _check_losses(tally, known, times, stats, rules, what)
    least, most = known.begun, known.begun + known.perhaps.total()
    if rules.may_be_off:
        least -= known.unrecorded + known.unrecorded_open
    if not least <= stats["begun"] <= most:
        tally.blame(f"{what}: begun {stats['begun']}, expected {least} to {most}")
    if stats["aborted"] != len(aborted) or (aborted and rules.nobody_died):
        tally.blame(f"{what}: aborted {stats['aborted']}, on disk {len(aborted)}")
    if stats["total_calls"] != len(times) - len(aborted):
        said = len(times) - len(aborted)
        tally.blame(f"{what}: total_calls {stats['total_calls']}, on disk {said}")
    return known


def _check_lines(
    tally: Tally, known: Known, times: Counter[int], aborted: set[int], what: str
) -> None:
    """Nothing is there twice, and nothing that finished is there as aborted."""
    doubled = times.total() - len(times)
    if doubled:
        tally.doubled += doubled
        tally.blame(f"{what}: {doubled} lines are there twice")
    if wrongly := known.finished & aborted:
        tally.blame(f"{what}: {len(wrongly)} finished calls are on disk as aborted")


def _check_params(tally: Tally, known: Known, lines: list[Line], what: str) -> None:
    """What is on disk of a call is what it was called with: its number in its worker's log."""
    others = []
    for line in lines:
        number = known.numbers.get(line.id)
        if number is None or line.is_aborted or line.tool.startswith(_WITHOUT_NUMBER):
            continue
        said = _NUMBER.search(line.params)
        if said is None or int(said[1]) != number:
            others.append(f"{line.id:016x} of {line.tool}, number {number}: {line.params[:60]!r}")
    if others:
        tally.blame(f"{what}: {len(others)} calls with others' parameters: {others[0]}")


def _check_untouched(
    tally: Tally, known: Known, times: Counter[int], stats: dict[str, Any], what: str
) -> None:
    """Others' records may have been spoilt; those of *known* are all there, once."""
    ours = {call_id: times[call_id] for call_id in known.finished | known.opened}
    _check_lines(tally, known, Counter({i: n for i, n in ours.items() if n}), set(), what)
    missing = sum(not times[call_id] for call_id in known.finished)
    if missing > sum(stats["lost"].values()):
        tally.lost += missing
        tally.blame(f"{what}: {missing} calls of processes that nobody touched are missing")


def _check_sampled(
    tally: Tally, known: Known, times: Counter[int], stats: dict[str, Any], what: str
) -> None:
    """Every call that returned is counted once; those with a record are on disk, or lost."""
    # A pair that is sampled out has an id all the same, for its end; no record has it.
    named = [i for i in known.finished | known.opened if i < FIRST_UNRECORDED]
    missing = sum(not times[call_id] for call_id in named)
    lost = sum(stats["lost"].values())
    left_out = sum(row["sampled_out"] for row in stats["tool_stats"].values())
    on_disk = times.total() - stats["aborted"]
    if missing > lost:
        tally.lost += missing - lost
        tally.blame(f"{what}: lost {stats['lost']}, missing {missing}")
    if stats["total_calls"] != on_disk + left_out:
        said = f"total_calls {stats['total_calls']}, {left_out} of them sampled out"
        tally.blame(f"{what}: {said}, on disk {on_disk}")
    ended = stats["total_calls"] + lost
    finished = len(known.finished) + known.unrecorded
    if not finished <= ended <= known.begun + known.perhaps.total():
        tally.lost += max(0, finished - ended)
        tally.blame(f"{what}: {ended} ended, expected {finished} and those that were open")
    least = known.begun - known.unrecorded_open
    least -= sum(call_id >= FIRST_UNRECORDED for call_id in known.opened)
    most = known.begun + known.perhaps.total()
    if not least <= stats["begun"] <= most:
        tally.lost += max(0, least - stats["begun"])
        tally.doubled += max(0, stats["begun"] - most)
        tally.blame(f"{what}: begun {stats['begun']}, expected {least} to {most}")


def check_books(tally: Tally, stats: dict[str, Any], what: str) -> None:
    """Begun = finished + lost + aborted, and nothing is open at the end."""
    lost = sum(stats["lost"].values())
    tally.counted += lost
    if stats["in_flight"] or stats["begun"] != stats["total_calls"] + lost + stats["aborted"]:
        keys = ("begun", "total_calls", "lost", "aborted", "in_flight", "faults")
        tally.blame(f"{what}: the books don't balance: { {key: stats[key] for key in keys} }")


def _check_strangers(
    tally: Tally,
    known: Known,
    lines: list[Line],
    rules: Rules,
    what: str,
) -> None:
    """Calls on disk that no log names: killed before their first line, so aborted, and few."""
    strangers: Counter[int] = Counter()
    for call_id, pid, is_aborted, tool, _ in lines:
        if call_id in known.finished or call_id in known.opened:
            continue
        strangers[pid] += 1
        if is_aborted is rules.nobody_died:
            how = "was aborted" if is_aborted else "finished, but never entered its tool"
            tally.blame(f"{what}: {call_id:016x} of {tool} {how}")
    if rules.may_be_unnamed:
        strangers.clear()
    if too_many := strangers - known.perhaps:
        tally.blame(f"{what}: {too_many.total()} calls on disk that nobody made")


def _check_losses(
    tally: Tally,
    known: Known,
    times: Counter[int],
    stats: dict[str, Any],
    rules: Rules,
    what: str,
) -> None:
    """What is missing on disk is exactly what was counted as lost."""
    missing = sum(not times[call_id] for call_id in known.finished | known.opened)
    lost = sum(stats["lost"].values())
    least = missing + (0 if rules.may_be_off else known.unrecorded)
    if rules.may_be_unnamed:
        missing -= len(times.keys() - known.finished - known.opened)
        least = missing + known.unrecorded
    most = missing + known.unrecorded + known.unrecorded_open + known.perhaps.total()
    if not least <= lost <= most:
        tally.lost += max(0, least - lost)
        tally.blame(f"{what}: lost {stats['lost']}, missing {least} to {most}")


def _pid(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(16)[8:], "little")
