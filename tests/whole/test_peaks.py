"""Peaks of open calls: what they cost when they are over, and that their ends arrive."""

from __future__ import annotations

import json

import pytest

from tests.support import Place, assert_books_balance

OPEN, PACED = 50_000, 150
# Enough for all of them at once: rows of 64 bytes, records of 256, and the rings that grew.
ROOM = "ring: {budget_bytes: 25165824}\n"
# Of a busy machine.
NOISE_S = 0.2


@pytest.mark.parametrize("kind", ["coroutines", "generators", "pairs"])
def test_a_peak_of_open_calls_costs_nothing_once_it_is_over(place: Place, kind: str) -> None:
    """The collector's looks cost what is open now, and every end in the burst is there."""
    place.write("config/tool_perf_limits.yaml", ROOM)
    before_s, after_s, stats = json.loads(place.run_program("wrappers/peak_of_open_calls", kind))
    assert_books_balance(stats)
    assert (stats["total_calls"], stats["lost"]) == (OPEN + 4 * PACED + 1, {})
    assert after_s < 3 * before_s + NOISE_S
