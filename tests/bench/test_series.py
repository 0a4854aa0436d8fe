"""The series that alerts are measured with: each kind once, quiet or told."""

from __future__ import annotations

import pytest

from bench import alerts as section
from bench.alerts import Watcher, series
from bench.series import CHANGES, QUIET, Kind, Source

SEED = 1
HOURS = 6


def ids(kind: Kind) -> str:
    return kind.name


@pytest.mark.parametrize("kind", QUIET, ids=ids)
def test_quiet_kinds_are_quiet(kind: Kind) -> None:
    """A quarter of a day without an alarm."""
    watcher = Watcher(kind, SEED)
    assert list(watcher.until(HOURS * 3_600)) == []
    assert watcher.calls > kind.a_second * HOURS * 3_600 / 4


@pytest.mark.parametrize("kind", CHANGES, ids=ids)
def test_changes_are_told_and_so_are_their_ends(kind: Kind) -> None:
    """One begin while the change lasts, of the right kind, and one end after it."""
    change_s = kind.after_s + 10
    watcher = Watcher(kind, SEED, change_s)
    assert list(watcher.until(change_s - 30)) == []
    if kind.restarts:
        watcher.restart()
    over_s = change_s + kind.lasts_s
    begin, *_ = found = list(watcher.until(over_s + 3_600))
    assert begin.is_begin
    assert begin.kind == ("latency" if kind.failing is None else "errors")
    assert change_s - 300 <= begin.since_s
    assert change_s < begin.at_s <= over_s
    assert not found[-1].is_begin
    assert len(found) == 2


def test_a_series_is_what_its_seed_says() -> None:
    """The same calls again from the same seed, others from another."""
    kind = QUIET[0]
    first, again, other = (Source(kind, seed).take(30) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    assert sum(first.histogram.values()) == first.count


def test_a_change_within_a_group_is_in_its_part_of_it() -> None:
    """Of a group that is cut by the change, so many calls are of after it."""
    slow = Kind("slow", times=1_000.0, a_second=100.0)
    cut = Source(slow, 3, change_s=20.0).take(30)
    late = sum(count for index, count in cut.histogram.items() if index > -40)
    assert 800 < late < 1_200


def test_rows_say_what_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kind that nobody can see counts as missed, and one that is quiet has no false alarm."""
    monkeypatch.setattr(section, "QUIET", (Kind("still"),))
    monkeypatch.setattr(
        section, "CHANGES", (Kind("nothing", after_s=600.0, lasts_s=300.0, target_s=60.0),)
    )
    rows = {row.name: row for row in series(quick=True)}
    assert rows["false alarms, still"].value == 0
    missed = rows["missed, nothing"]
    assert (missed.value, missed.unit, missed.met) == (3, "of 3", False)
    assert "told after, nothing" not in rows
    assert rows["time of a tool and interval"].value > 0
