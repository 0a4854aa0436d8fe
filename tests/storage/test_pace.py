"""Long work in pieces: each has an end, and none comes to nothing."""

from __future__ import annotations

from itertools import count

from shmperf.storage.pace import Pace


def test_a_piece_comes_to_one_thing_at_least() -> None:
    """However slow everything is, the first is done, so that there is progress."""
    pace = Pace(count().__next__)
    assert list(pace.piece("abc")) == ["a"]
    assert (pace.taken, pace.beats) == (1, 1)
    assert list(pace.piece("")) == []
    assert pace.taken == 0
