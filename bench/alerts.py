"""
Alerts: how long until a change is noticed, and how often one is seen where nothing changed.

Series of known kinds (see `series`) are fed to the detectors as the collector feeds them, by the
second while they learn and then by the interval. A change falls anywhere inside an interval, so a
delay counts the part of it that was spoilt. Nothing was ever tuned on these seeds.

Beside that, real programs get into trouble (`planted`).
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from time import process_time_ns

import msgspec

from shmperf.analysis.changes import Change, Changes, Watched

from .measure import Row
from .planted import LONG, QUICK, planted
from .series import CHANGES, QUIET, Kind, Source

__all__ = ["alerts", "series"]

_TOOL = "tool"
_INTERVAL_S, _LEARNING_S = 30.0, 1.0
_DAY_S = 86_400.0
_MOST_FALSE, _MOST_MS = 0.5, 0.1
_QUIET_SEED, _CHANGED_SEED = 70_000, 80_000
_STATE = msgspec.msgpack.Decoder(dict[str, Watched])


class Watcher:
    """A series and the detectors that see it."""

    def __init__(self, kind: Kind, seed: int, change_s: float | None = None) -> None:
        self.changes = Changes(_INTERVAL_S)
        self.source = Source(kind, seed, *(() if change_s is None else (change_s,)))
        self.calls = self.steps = self.spent_ns = 0

    def until(self, end_s: float) -> Iterator[Change]:
        """What is told until *end_s*."""
        while self.source.now_s < end_s:
            is_learning = self.changes.is_learning(_TOOL)
            group = self.source.take(_LEARNING_S if is_learning else _INTERVAL_S)
            self.calls += group.count
            self.steps += 1
            begun = process_time_ns()
            found = self.changes.add(_TOOL, group)
            self.spent_ns += process_time_ns() - begun
            yield from found

    def restart(self) -> None:
        """What a new collector knows of what an old one has written."""
        written = msgspec.msgpack.encode(self.changes.state())
        self.changes = Changes.restore(_STATE.decode(written))


def alerts(*, quick: bool) -> list[Row]:
    """The rows: of series, of what looking costs, and of real programs."""
    return [*series(quick=quick), *planted(QUICK if quick else LONG)]


def series(*, quick: bool) -> list[Row]:
    """The rows: quiet kinds, kinds with a change, and what looking costs."""
    seeds = 3 if quick else 20
    rows, costs = [], []
    for kind in QUIET:
        false, watchers = _quiet(kind, 2 if quick else seeds, 0.5 if quick else 2.0)
        rows += _quiet_rows(kind, false, watchers)
        costs += [one.spent_ns / one.steps / 1e6 for one in watchers]
    for kind in CHANGES:
        rows += _change_rows(kind, [_changed(kind, seed) for seed in range(seeds)])
    rows.append(
        Row(
            name="time of a tool and interval",
            value=statistics.median(costs),
            unit="ms",
            target=_MOST_MS,
            low=min(costs),
            high=max(costs),
            rounds=len(costs),
        )
    )
    return rows


def _quiet(kind: Kind, seeds: int, days: float) -> tuple[int, list[Watcher]]:
    false, watchers = 0, []
    for seed in range(seeds):
        watcher = Watcher(kind, _QUIET_SEED + seed)
        false += sum(change.is_begin for change in watcher.until(days * _DAY_S))
        watchers.append(watcher)
    return false, watchers


def _quiet_rows(kind: Kind, false: int, watchers: list[Watcher]) -> list[Row]:
    days = sum(one.source.now_s for one in watchers) / _DAY_S
    calls = sum(one.calls for one in watchers)
    return [
        Row(
            name=f"false alarms, {kind.name}",
            value=false / days,
            unit="a day",
            target=_MOST_FALSE,
            rounds=len(watchers),
        ),
        Row(
            name=f"false alarms, {kind.name}",
            value=false / calls * 1e5,
            unit="in 100,000 calls",
            rounds=len(watchers),
        ),
    ]


def _changed(kind: Kind, seed: int) -> tuple[float | None, float | None, bool]:
    """Seconds until a change was told, and its end; and whether an alarm was open before it."""
    change_s = kind.after_s + (seed * 0.381966 % 1.0) * _INTERVAL_S
    watcher = Watcher(kind, _CHANGED_SEED + seed, change_s)
    open_ = 0
    # To the last interval that has nothing of the change.
    for change in watcher.until(change_s - _INTERVAL_S):
        open_ += 1 if change.is_begin else -1
    if kind.restarts:
        watcher.restart()
    begun = ended = None
    over_s = change_s + kind.lasts_s
    for change in watcher.until(over_s + 3_600.0):
        if change.is_begin and begun is None and change.at_s > change_s:
            begun = change.at_s - change_s
        if not change.is_begin and change.at_s > over_s and ended is None:
            ended = change.at_s - over_s
    return begun, ended, open_ > 0


def _change_rows(kind: Kind, found: list[tuple[float | None, float | None, bool]]) -> list[Row]:
    begun = [one for one, _, is_open in found if one is not None and not is_open]
    ended = [one for _, one, _ in found if one is not None]
    rows = []
    if begun:
        rows.append(_delay_row(f"told after, {kind.name}", begun, kind.target_s))
    missed = len(found) - len(begun)
    rows.append(
        Row(
            name=f"missed, {kind.name}",
            value=missed,
            unit=f"of {len(found)}",
            target=None if kind.target_s is None else 0,
            rounds=len(found),
        )
    )
    if ended:
        rows.append(_delay_row(f"end told after, {kind.name}", ended, kind.end_target_s))
    return rows


def _delay_row(name: str, delays: list[float], target: float | None) -> Row:
    low = high = None
    if len(delays) > 1:
        low, _, high = statistics.quantiles(delays, n=4, method="inclusive")
    return Row(
        name=name,
        value=statistics.median(delays),
        unit="s",
        target=target,
        low=low,
        high=high,
        rounds=len(delays),
    )
