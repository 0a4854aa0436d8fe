"""Programs that close all descriptors, as daemons do: their files and our memory stay apart."""

from __future__ import annotations

import json

import pytest

from tests.support import Place, assert_books_balance

KEEP_ALL = "default_perf_points: -1\n"
DETAIL = "optimization: {enabled: true}\n"


@pytest.mark.parametrize("config", [KEEP_ALL, KEEP_ALL + DETAIL])
@pytest.mark.parametrize(("kind", "made"), [("alone", 3_055), ("daemon", 3_056)])
def test_files_that_get_our_numbers_are_the_programs(
    place: Place, kind: str, made: int, config: str
) -> None:
    """Memory is reserved in our own file, and the program's files are as it left them."""
    place.write("config/tool_perf_limits.yaml", config)
    sizes, stats = json.loads(place.run_program("descriptors/closes_all", kind))
    assert sizes == [8] * 12
    assert_books_balance(stats)
    assert (stats["total_calls"], stats["lost"]) == (made, {})
    if DETAIL in config:
        assert all(line["data"]["memory_mb"] for line in place.lines("tool"))
