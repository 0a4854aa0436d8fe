"""The quick way of coroutines is that of functions; where it may be gone, and what it leaves."""

from __future__ import annotations

import json

from tests.support import Place, assert_books_balance

from .hotcoroutine_text import made, there


def test_its_text_is_that_of_the_hot_path() -> None:
    """Who changes the one has the other written: ``python -m tests.worker.hotcoroutine_text``."""
    assert there().read_text() == made()


def test_coroutines_leave_every_context_as_it_is(place: Place) -> None:
    """Quick where asyncio runs them; parents are right wherever they begin, go on and end."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    found, stats = json.loads(place.run_program("wrappers/coroutines_in_other_contexts"))
    assert_books_balance(stats)
    assert stats["in_flight"] == 0
    # Of the long way nothing was called.
    assert found["long"] == []
    assert found["stay"] == []
    parents = {one["data"]["id"]: one["data"]["parent"] for one in place.lines("inner")}
    assert sorted(parents.values()) == sorted(
        one["data"]["id"] for one in place.lines("many") for _ in range(2)
    )
    (closed,) = place.lines("closed")
    assert (closed["data"]["status"], closed["data"]["err"]) == ("error", "GeneratorExit")
