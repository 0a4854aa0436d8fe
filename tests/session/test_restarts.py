"""When a collector is started again, after one that was killed and after one that can't start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from shmperf.session.restarts import LOG, Restarts, note_start
from shmperf.testing import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def restarts(tmp_path: Path, clock: Clock) -> Restarts:
    return Restarts(tmp_path, clock)


def come_up(directory: Path, number: int) -> None:
    """A collector comes up, in another tick of the file system's clock than all before."""
    note_start(directory)
    mark = next(directory.glob("*.up"))
    os.utime(mark, ns=(number, number))


def pauses(restarts: Restarts, clock: Clock, count: int) -> list[float]:
    """How long each of *count* starts has to wait, to a hundredth of a second."""
    found = []
    for _ in range(count):
        restarts.begin()
        waited_s = 0.0
        while not restarts.are_due():
            clock.now_s += 0.01
            waited_s += 0.01
        found.append(round(waited_s, 1))
    return found


def test_one_that_was_killed_is_replaced_at_once(
    tmp_path: Path, restarts: Restarts, clock: Clock
) -> None:
    """However often a collector is killed that had come up, the next one waits for nothing."""
    for number in range(1, 20):
        assert restarts.are_due()
        restarts.begin()
        come_up(tmp_path, number)
    assert pauses(restarts, clock, 0) == []
    assert restarts.are_due()


def test_one_that_is_killed_while_it_comes_up_waits_a_second_at_most(
    restarts: Restarts, clock: Clock
) -> None:
    """Without a word in its log a collector was killed, perhaps: its calls can't wait for long."""
    found = pauses(restarts, clock, 8)
    assert max(found) <= 1.0
    assert found == sorted(found)


def test_one_that_can_not_start_waits_for_longer_each_time(
    tmp_path: Path, restarts: Restarts, clock: Clock
) -> None:
    """A reason in the log is remembered, and the pause doubles up to a minute."""
    (tmp_path / LOG).write_text("Traceback …\nModuleNotFoundError: No module named 'msgspec'\n")
    assert pauses(restarts, clock, 8) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert "No module named 'msgspec'" in restarts.failure


def test_one_that_comes_up_makes_up_for_all_before(
    tmp_path: Path, restarts: Restarts, clock: Clock
) -> None:
    """A collector that anybody has started ends the pauses of all."""
    (tmp_path / LOG).write_text("no memory\n")
    assert pauses(restarts, clock, 5)[-1] > 10
    restarts.begin()
    assert not restarts.are_due()
    come_up(tmp_path, 7)
    assert restarts.are_due()
    assert restarts.failure == ""
    assert pauses(restarts, clock, 1) == [1.0]
