"""The end of a grant: every kind of call comes to it, and what strikes there is passed on."""

from __future__ import annotations

import json

import pytest

from shmperf.compiled.chosen import hot
from tests.support import Place, assert_books_balance


@pytest.mark.parametrize("again", [(), ("twice",)])
@pytest.mark.parametrize("detail", ["false", "true"])
def test_a_call_that_is_struck_as_its_grant_is_refilled_is_recorded(
    place: Place, detail: str, again: tuple[str, ...]
) -> None:
    """An interruption there is the program's: its call has ended, and is there once."""
    place.write(
        "config/tool_perf_limits.yaml",
        "default_perf_points: -1\nring: {first_slots: 4}\n"
        f"optimization: {{trigger_threshold: 0, enabled: {detail}}}\n",
    )
    struck, made, stats, late = json.loads(place.run_program("wrappers/refills", *again))
    assert struck == {"function": 3, "block": 3, "pair": 3, "awaited": 3}
    assert late >= 6 * (hot is not None and bool(again))
    assert_books_balance(stats)
    assert (stats["lost"], stats["in_flight"], stats["faults"]) == ({}, 0, {})
    assert made == {name: tool["count"] for name, tool in stats["tool_stats"].items()}
    assert {made["function"], made["block"], made["pair"]} == {200}
    place.wait_for_end()
    ids = [line["data"]["id"] for name in made for line in place.lines(name)]
    assert len(ids) == len(set(ids)) == stats["total_calls"]
