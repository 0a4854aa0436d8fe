"""The campaign of faults can fail: what it must do at least, and the faults that it must find."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from pathlib import Path

import pytest

from bench.faults.__main__ import _run, _Section
from bench.faults.books import Least, Tally
from bench.faults.campaign import Campaign, Sample
from bench.faults.log import read_logs
from bench.faults.selftest import PLANTS, Plant, plant
from shmperf.shm.inflight import FIRST_UNRECORDED


@pytest.mark.parametrize("fault", PLANTS, ids=lambda fault: fault.name)
def test_every_planted_fault_still_has_its_place(fault: Plant, tmp_path: Path) -> None:
    """A fault that could not be planted any more would be caught by nobody."""
    plant(fault, tmp_path)
    for change in fault.changes:
        text = (tmp_path / "shmperf" / change.file).read_text()
        compile(text, change.file, "exec")
        assert change.latter in text


def test_a_section_that_does_next_to_nothing_has_failed() -> None:
    """Ten faults a minute are ten in a minute and five in half of one, at three points."""
    idle = Tally("idle")
    idle.demand(Least(10, 3), 60)
    assert len(idle.wrong) == 2
    busy = Tally("busy", tried=5, points=Counter("abc"))
    busy.demand(Least(10, 3), 30)
    assert busy.is_right
    assert not Tally("unasked", tried=0).wrong


def test_a_section_that_raises_has_failed(tmp_path: Path) -> None:
    """A crash of the campaign's own is no success, and the table is printed all the same."""

    def crash(campaign: Campaign, seconds: float) -> Tally:
        raise FileNotFoundError("census")

    campaign = Campaign(tmp_path, 1)
    tally = _run("crashing", _Section(1.0, crash, Least(0)), campaign, 1.0)
    assert not tally.is_right
    assert "FileNotFoundError: census" in tally.wrong[0]


def test_no_point_is_drawn_twice_before_all_were() -> None:
    """Faults are placed by point: so many draws reach so many points."""
    rng = random.Random(7)  # noqa: S311  seeded
    sample = Sample(Counter(dict.fromkeys("abcdefgh", 5)))
    drawn = [sample.draw(rng, "kill")[0] for _ in range(16)]
    assert sorted(drawn[:8]) == sorted(drawn[8:]) == list("abcdefgh")


def test_calls_that_are_sampled_out_count_once_a_process(tmp_path: Path) -> None:
    """Two processes give the same ids to calls without a record: these are two calls."""
    paths = [tmp_path / str(pid) for pid in (11, 12)]
    for pid, path in zip((11, 12), paths, strict=True):
        path.write_bytes(
            array("Q", [0, pid, *[0] * 6, 1, FIRST_UNRECORDED + 1, 1, 1, pid, 1]).tobytes()
        )
    known = read_logs(paths)
    assert known.begun == len(known.finished) == 4
