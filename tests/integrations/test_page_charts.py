"""The page's charts, in a real browser: each has its table, gaps stay gaps, paper shows all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import needs

from .browsing import opened_page, served
from .pages import look_of, page_in, tool_look

needs("playwright")


def step(at_s: float, count: int, heat: dict[int, int]) -> dict[str, Any]:
    """A point of the part "intervals", thirty seconds long."""
    return {
        "at_s": at_s,
        "length_s": 30.0,
        "count": count,
        "errors": 1,
        "own_s": 1.0,
        "total_s": 1.0,
        "p50_s": 0.01,
        "p95_s": 0.02,
        "p99_s": None,
        "heat": heat,
    }


# Between the second and the third nothing was called.
TREND = {
    "tool": None,
    "steps": [
        step(1_699_999_000.0, 60, {-13: 20, -12: 40}),
        step(1_699_999_030.0, 30, {-13: 30}),
        step(1_699_999_900.0, 90, {-2: 90}),
    ],
    "open": 0,
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A page at its overview, with three steps of time in its charts."""
    directory = tmp_path_factory.mktemp("charts")
    look = look_of(tools=[tool_look("read", count=180)], total_calls=180)
    page_in(directory, {"intervals": TREND, "slow": []}, look)
    with served(directory) as address, opened_page(f"{address}/index.html") as page:
        page.wait_for_selector(".uplot")
        yield page


def cells(page: Any, label: str) -> list[list[str]]:
    """The rows of a chart's table, without the time."""
    fold = page.locator("details.as-table", has=page.locator(f"[aria-label='{label}, as a table']"))
    fold.evaluate("fold => { fold.open = true; }")
    rows = fold.locator("tbody tr")
    rows.first.wait_for()
    return [row.locator("td").all_inner_texts()[1:] for row in rows.all()]


def test_each_chart_has_its_table(drawn: Any) -> None:
    """Who can't see a chart has its figures: each step once, a gap in none."""
    assert cells(drawn, "Calls a second") == [["2"], ["1"], ["3"]]
    assert cells(drawn, "Errors") == [["1"], ["1"], ["1"]]
    assert [row[0] for row in cells(drawn, "Duration, by percentiles")] == ["10\u00a0ms"] * 3
    # Octaves: above 2^-7 s, above 2^-6 s, and above 2^-1 s.
    assert cells(drawn, "Durations over time") == [
        ["20", "40", "0"],
        ["30", "0", "0"],
        ["0", "0", "90"],
    ]
    assert drawn.locator("details.as-table").count() == drawn.locator(".plot").count()


def test_time_without_calls_is_a_gap(drawn: Any) -> None:
    """A line ends where an interval has no successor, and begins anew."""
    times, values = drawn.evaluate(
        "steps => shmperf.overTime(steps, (step) => step.count)", TREND["steps"]
    )
    assert times == [1_699_999_000, 1_699_999_030, 1_699_999_060, 1_699_999_900]
    assert values == [[60, 30, None, 90]]


def test_on_paper_all_is_unfolded_and_folded_again(drawn: Any) -> None:
    """A printed page has the tables of its charts; afterwards the page is as it was."""
    drawn.evaluate("for (const fold of document.querySelectorAll('details')) fold.open = false")
    drawn.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert drawn.locator("details:not([open])").count() == 0
    assert drawn.locator("details.as-table tbody tr").count() == 4 * len(TREND["steps"])
    drawn.evaluate("dispatchEvent(new Event('afterprint'))")
    assert drawn.locator("details[open]").count() == 0
