"""The campaign of faults can fail: what it must do at least, and the faults that it must find."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from bench.faults.__main__ import _run, _Section
from bench.faults.books import Least, Tally, _check_params
from bench.faults.campaign import Campaign, Sample
from bench.faults.log import Known, read_logs
from bench.faults.place import Line
from bench.faults.selftest import PLANTS, Plant, plant
from shmperf.compiled.chosen import hot, why_not
from shmperf.shm.inflight import FIRST_UNRECORDED


@pytest.mark.parametrize("fault", PLANTS, ids=lambda fault: fault.name)
def test_every_planted_fault_still_has_its_place(fault: Plant, tmp_path: Path) -> None:
    """A fault that could not be planted any more would be caught by nobody."""
    if fault.is_in_c and hot is None:
        pytest.skip(f"no compiled path: {why_not}")
    plant(fault, tmp_path)
    for change in fault.changes:
        text = (tmp_path / "shmperf" / change.file).read_text()
        if not fault.is_in_c:
            compile(text, change.file, "exec")
        assert change.latter in text


def test_what_a_section_must_do() -> None:
    """Ten faults a minute are ten in a minute and five in half of one, at three points."""
    least = Least(10, 3)
    assert Tally("idle").lacks(least, 60) == "only 0 faults in 60 s: expected at least 10"
    few = Tally("few", tried=10, points=Counter("aab"))
    assert few.lacks(least, 60) == "only 2 points were reached: expected at least 3"
    assert not Tally("busy", tried=5, points=Counter("abc")).lacks(least, 30)


def _rounds(campaign: Campaign, tally: Tally, now: list[float], each: int) -> float:
    """How long a section of rounds of 20 s goes on that tries *each* in every one."""
    began = now[0]
    while not campaign.is_over:
        now[0] += 20.0
        tally.tried += each
    return now[0] - began


def test_a_slow_section_goes_on_until_it_has_done_what_it_must(tmp_path: Path) -> None:
    """Whoever is quick ends in time, a slow one is waited for, and an idle one is given up."""
    now = [1000.0]
    campaign = Campaign(tmp_path, 1, Least(10), clock=lambda: now[0])
    with closing(campaign):
        lasted = [_rounds(campaign, campaign.begin(60.0, "s"), now, each) for each in (9, 1, 0)]
    assert lasted == [80.0, 200.0, 260.0]


def test_a_section_that_does_next_to_nothing_has_failed(tmp_path: Path) -> None:
    """A section that could not have found anything must not pass."""

    def idle(campaign: Campaign, seconds: float) -> Tally:
        return campaign.begin(seconds, "idle")

    section = _Section(1.0, idle, Least(60))
    tally = _run("idle", section, Campaign(tmp_path, 1, section.least), 1.0)
    assert tally.wrong == ["only 0 faults in 1 s: expected at least 1"]


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


def test_a_call_on_disk_with_the_parameters_of_another_is_told() -> None:
    """Its number stands in the log of its worker; a torn record has another one, or none."""
    known: Known = read_logs([])._replace(numbers={1: 7, 2: 8, 3: 9})
    sound = [
        Line(1, 5, False, "leaf", '{"slot":7}'),
        Line(2, 5, False, "pair", r'"{\"n\":8}"'),
        Line(3, 5, True, "leaf", "{}"),
        Line(4, 5, False, "leaf", '{"slot":7}'),
    ]
    tally = Tally("sound")
    _check_params(tally, known, sound, "sound")
    assert tally.wrong == []
    _check_params(tally, known, [*sound, Line(3, 5, False, "leaf", '{"slot":8}')], "another's")
    _check_params(tally, known, [Line(1, 5, False, "leaf", "{}")], "nobody's")
    another, none = tally.wrong
    assert another.startswith("another's: 1 calls with others' parameters: 0000000000000003")
    assert none.startswith("nobody's: 1 calls with others' parameters: 0000000000000001")
