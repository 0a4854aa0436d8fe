"""A fleet's campaign: what it compares, and that its planted faults have their places."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.faults.selftest import Plant, plant
from bench.fleet.campaign import Outcome
from bench.fleet.selftest import PLANTS


def test_what_is_missing_doubled_or_of_nobody_is_wrong() -> None:
    """Each counts, and says of which node; what is right says nothing."""
    outcome = Outcome()
    outcome.compare("north", {"a", "b"}, Counter("ab"))
    assert outcome.is_right
    assert outcome.kept == 2
    outcome.compare("south", {"a", "b", "c"}, Counter("abbd"))
    assert (outcome.lost, outcome.doubled, outcome.foreign) == (1, 1, 1)
    assert outcome.wrong == ["south: of 3 calls 1 missing, 1 not its own, 1 twice"]
    assert not outcome.is_right


@pytest.mark.parametrize("fault", PLANTS, ids=lambda fault: fault.name)
def test_planted_faults_have_their_places(fault: Plant, tmp_path: Path) -> None:
    """What they change stands there, once, and what they make of it is Python."""
    plant(fault, tmp_path)
    for change in fault.changes:
        text = (tmp_path / "shmperf" / change.file).read_text()
        compile(text, change.file, "exec")
        assert change.latter in text
