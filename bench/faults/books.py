"""
The check after every batch: what the workers know of their calls against what shmperf says.

With a tool that keeps everything, each call that a worker saw return is on disk once, each that it
saw begin is there once, finished or aborted, and nothing else is there but calls that were killed
between their beginning and their first line. What is missing must have been counted as lost.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from .log import Known, read_logs
from .place import Place

__all__ = ["Tally", "check", "check_books"]


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

    def blame(self, text: str) -> None:
        """Something was wrong."""
        self.wrong.append(text)


def check(tally: Tally, place: Place, what: str, *, exempt: frozenset[int] = frozenset()) -> Known:
    """
    Compare logs, history and statistics of a batch that is over; everything wrong goes to *tally*.

    Records of the processes in *exempt* may have been spoilt; the books balance all the same.
    """
    known = read_logs([path for path in place.logs.iterdir() if _pid(path) not in exempt])
    stats = place.stats() if place.storage.is_dir() else None
    if stats is None:
        if known.begun:
            tally.lost += known.begun
            tally.blame(f"{what}: no storage at all, {known.begun} calls begun")
        return known
    lines = list(place.lines())
    times = Counter(call_id for call_id, *_ in lines)
    aborted = {call_id for call_id, _, is_aborted, _ in lines if is_aborted}
    if exempt:
        ours = known.finished | known.opened
        times = Counter({call_id: n for call_id, n in times.items() if call_id in ours})
    doubled = sum(times.values()) - len(times)
    if doubled:
        tally.doubled += doubled
        tally.blame(f"{what}: {doubled} lines are there twice")
    if wrongly := known.finished & aborted:
        tally.blame(f"{what}: {len(wrongly)} finished calls are on disk as aborted")
    if not exempt:
        _check_strangers(tally, known, lines, what)
        _check_losses(tally, known, times, stats, what)
    check_books(tally, stats, what)
    missing = sum(not times[call_id] for call_id in known.finished)
    if exempt and missing > sum(stats["lost"].values()):
        tally.lost += missing
        tally.blame(f"{what}: {missing} calls of processes that nobody touched are missing")
    if not exempt:
        most = known.begun + known.perhaps.total()
        if not known.begun <= stats["begun"] <= most:
            tally.blame(f"{what}: begun {stats['begun']}, expected {known.begun} to {most}")
        if stats["aborted"] != len(aborted):
            tally.blame(f"{what}: aborted {stats['aborted']}, on disk {len(aborted)}")
        if stats["total_calls"] != len(times) - len(aborted):
            said = len(times) - len(aborted)
            tally.blame(f"{what}: total_calls {stats['total_calls']}, on disk {said}")
    return known


def check_books(tally: Tally, stats: dict[str, Any], what: str) -> None:
    """Begun = finished + lost + aborted, and nothing is open at the end."""
    lost = sum(stats["lost"].values())
    tally.counted += lost
    if stats["in_flight"] or stats["begun"] != stats["total_calls"] + lost + stats["aborted"]:
        keys = ("begun", "total_calls", "lost", "aborted", "in_flight", "faults")
        tally.blame(f"{what}: the books don't balance: { {key: stats[key] for key in keys} }")


def _check_strangers(
    tally: Tally, known: Known, lines: list[tuple[int, int, bool, str]], what: str
) -> None:
    """Calls on disk that no log names: killed before their first line, so aborted, and few."""
    strangers: Counter[int] = Counter()
    for call_id, pid, is_aborted, tool in lines:
        if call_id in known.finished or call_id in known.opened:
            continue
        strangers[pid] += 1
        if not is_aborted:
            tally.blame(f"{what}: {call_id:016x} of {tool} finished, but never entered its tool")
    if too_many := strangers - known.perhaps:
        tally.blame(f"{what}: {too_many.total()} calls on disk that nobody made")


def _check_losses(
    tally: Tally, known: Known, times: Counter[int], stats: dict[str, Any], what: str
) -> None:
    """What is missing on disk is exactly what was counted as lost."""
    missing = sum(not times[call_id] for call_id in known.finished)
    missing_open = sum(not times[call_id] for call_id in known.opened)
    lost = sum(stats["lost"].values())
    least = missing + known.unrecorded + missing_open
    most = least + known.unrecorded_open + known.perhaps.total()
    if not least <= lost <= most:
        tally.lost += max(0, least - lost)
        tally.blame(f"{what}: lost {stats['lost']}, missing {least} to {most}")


def _pid(path: Path) -> int:
    with path.open("rb") as file:
        return int.from_bytes(file.read(16)[8:], "little")
