"""``alerts.jsonl``: each change once whoever is killed, bounded, and robust to what lies there."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from shmperf.analysis.shownalert import ShownAlert
from shmperf.storage.alertfile import ALERTS, MOST_LINES, append, read


def alert(number: int, *, is_over: bool = False) -> ShownAlert:
    return ShownAlert(
        id=f"{number:016x}",
        kind="latency",
        tool="tool",
        severity="warning",
        began="2026-01-01T00:00:00.000+00:00",
        ended="2026-01-01T00:01:00.000+00:00" if is_over else None,
        text="slower",
        evidence={"now": 2.0},
    )


def lines(storage: Path) -> list[tuple[int, bool]]:
    rows = map(msgspec.json.decode, (storage / ALERTS).read_bytes().splitlines())
    return [(int(row["id"], 16), row["ended"] is not None) for row in rows]


@pytest.mark.parametrize("cut", range(1, 400, 7))
def test_killed_in_the_middle_of_a_write_each_line_stands_there_once(
    tmp_path: Path, cut: int
) -> None:
    """Whatever part of the lines was written: who comes next writes the rest."""
    append(tmp_path, [alert(1)])
    kept = (tmp_path / ALERTS).stat().st_size
    piece = [alert(1, is_over=True), alert(2)]
    append(tmp_path, piece)
    os.truncate(tmp_path / ALERTS, kept + cut)
    append(tmp_path, piece)
    assert lines(tmp_path) == [(1, False), (1, True), (2, False)]


def test_an_alert_is_as_its_last_line_says(tmp_path: Path) -> None:
    """One that is over is over; one that is not, is not."""
    append(tmp_path, [alert(1), alert(2), alert(1, is_over=True)])
    assert [(one.id[-1], one.ended is None) for one in read(tmp_path)] == [
        ("1", False),
        ("2", True),
    ]


def test_the_newest_lines_stay(tmp_path: Path) -> None:
    """The file is bounded, and what is left are its newest lines in their order."""
    for first in range(0, 12_000, 200):
        append(tmp_path, [alert(number) for number in range(first, first + 200)])
    found = lines(tmp_path)
    assert MOST_LINES <= len(found) <= MOST_LINES + 700
    assert found == [(number, False) for number in range(12_000 - len(found), 12_000)]


@pytest.mark.parametrize("damage", [b"\0\xff{\n", b"[]\n", b'{"id": 1}\n', b"[" * 5_000 + b"\n"])
def test_damaged_lines_are_passed_over(tmp_path: Path, damage: bytes) -> None:
    """What is no alert is none, and what follows is read."""
    append(tmp_path, [alert(1)])
    with (tmp_path / ALERTS).open("ab") as file:
        file.write(damage)
    append(tmp_path, [alert(2)])
    assert [one.id[-1] for one in read(tmp_path)] == ["1", "2"]


def test_link_or_pipe_in_its_place_is_refused(tmp_path: Path) -> None:
    """Nothing is written through a link that somebody has laid there, and no pipe is waited for."""
    (tmp_path / "other").write_text("")
    (tmp_path / ALERTS).symlink_to("other")
    with pytest.raises(OSError, match="symbolic"):
        append(tmp_path, [alert(1)])
    (tmp_path / ALERTS).unlink()
    os.mkfifo(tmp_path / ALERTS)
    with pytest.raises(OSError, match="not ours"):
        append(tmp_path, [alert(1)])
    assert (tmp_path / "other").read_text() == ""
