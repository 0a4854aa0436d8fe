"""Comparisons: right verdicts on what is known, and as few wrong ones as is promised."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from shmperf.analysis.conditions import Condition, ConditionError, broken, unmatched
from shmperf.analysis.diff import Measured, compare
from shmperf.analysis.totals import Totals


def tool(
    count: int, scale: float = 1.0, *, errors: int = 0, seed: object = 0, spread: float = 0.4
) -> Measured:
    """A tool whose median is *scale* milliseconds."""
    rng = random.Random(f"{count} {seed}")  # noqa: S311  no secret
    totals = Totals()
    durations = [int(scale * 1e6 * rng.lognormvariate(0, spread)) for _ in range(count)]
    totals.add(durations, errors, 1)
    return Measured.of(totals)


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        (tool(3_000, 1.3, seed="b"), "slower"),
        (tool(3_000, 0.7, seed="b"), "faster"),
        (tool(30_000, 1.0, seed="b"), "same"),
        (tool(8, 1.0, seed="b"), "unsure"),
        (tool(0), "unsure"),
    ],
)
def test_verdicts(b: Measured, verdict: str) -> None:
    """What is plain is said, and few calls are no reason to say anything."""
    assert compare({"t": tool(30_000)}, {"t": b}).verdict("t") == verdict


def test_a_tool_of_one_side_is_new_or_gone() -> None:
    """There is nothing to compare it with."""
    found = compare({"old": tool(10)}, {"young": tool(10)})
    assert (found.verdict("old"), found.verdict("young")) == ("gone", "new")
    assert found.of("old").b is None
    assert found.of("young").change.p50 is None


@pytest.mark.parametrize("count", [30, 300, 3_000])
def test_twenty_tools_that_did_not_change_are_rarely_called_changed(count: int) -> None:
    """All verdicts of a comparison together are wrong in at most one of twenty comparisons."""
    wrong = 0
    for run in range(40):
        a = {f"t{n}": tool(count, seed=("a", run, n)) for n in range(20)}
        b = {f"t{n}": tool(count, seed=("b", run, n)) for n in range(20)}
        found = compare(a, b)
        wrong += any(found.verdict(name) in ("slower", "faster") for name in found.tools)
    # More than 6 of 40 happen once in a thousand times where it is one in twenty.
    assert wrong <= 6


def test_known_shifts_are_called_by_their_direction() -> None:
    """Of 100 tools half of which are a fifth slower, none is called what it is not."""
    a = {f"t{n}": tool(4_000, seed=("a", n)) for n in range(100)}
    b = {f"t{n}": tool(4_000, 1.2 if n % 2 else 1.0, seed=("b", n)) for n in range(100)}
    found = compare(a, b)
    said = Counter((n % 2, found.verdict(f"t{n}")) for n in range(100))
    assert said[1, "slower"] >= 48
    assert said[0, "slower"] + said[0, "faster"] + said[1, "faster"] == 0


def test_a_slower_tail_counts_though_the_median_is_faster() -> None:
    """Slow calls are what people wait for."""
    totals = Totals()
    rng = random.Random(5)  # noqa: S311
    totals.add([int(9e5 * (8 if rng.random() < 0.1 else 0.8)) for _ in range(5_000)], 0, 1)
    assert compare({"t": tool(5_000, spread=0.05)}, {"t": Measured.of(totals)}).verdict("t") == (
        "slower"
    )


def test_percentiles_without_a_histogram_are_never_sure() -> None:
    """Older files say how long calls took, and not how sure that is."""
    then = Measured(Totals(count=1_000), None, {"p50": 1e6, "p95": 2e6})
    found = compare({"t": then}, {"t": tool(3_000, 9.0)}).of("t")
    assert found.verdict == "unsure"
    assert found.change.p50 is not None
    assert found.change.p50.ratio == pytest.approx(9, rel=0.1)
    assert (found.change.p50.low, found.change.p99) == (None, None)


def test_conditions_break_for_the_tool_that_is_surely_worse() -> None:
    """One of twenty is a fifth slower: that one alone, and not beyond what is sure."""
    a = {f"t{n}": tool(5_000, seed=("a", n)) for n in range(20)}
    b = {f"t{n}": tool(5_000, 1.2 if n == 7 else 1.0, seed=("b", n)) for n in range(20)}
    found = compare(a, b)

    def tools(*texts: str) -> list[str]:
        return [one.tool for one in broken(map(Condition.parse, texts), found)]

    assert tools("p50>+10%") == ["t7"]
    assert tools("t7:p50>+10%", "t1*:p50>+10%") == ["t7"]
    assert tools("p50>+20%") == []
    assert unmatched([Condition.parse("nobody:p50>+1%")], found) == ["nobody:p50>+1%"]


def test_errors_are_compared_in_percentage_points() -> None:
    """From none to five in a hundred is more than one point more, and that is sure."""
    found = compare({"t": tool(1_000)}, {"t": tool(1_000, errors=50)})
    (one,) = broken([Condition.parse("errors>+1")], found)
    assert one.text.startswith("t: errors +5.00 points (")
    assert list(broken([Condition.parse("errors>+5")], found)) == []


@pytest.mark.parametrize(
    "text",
    [
        *("", "p50", "p50>", "p50>10", "p51>+10%", "errors>+1%", ":p50>+1%", "p50<+1%"),
        *("p50>+-3%", "p50>+" + "9" * 400 + "%", "t:p50>+1%x"),
    ],
)
def test_a_condition_that_can_not_be_read_says_what_is_expected(text: str) -> None:
    """In one line."""
    with pytest.raises(ConditionError, match="expected") as caught:
        Condition.parse(text)
    assert "\n" not in str(caught.value)


def test_a_tool_may_have_a_colon_in_its_name() -> None:
    """The last colon parts the tool from the rest."""
    condition = Condition.parse("db:query:p95>10%")
    assert (condition.tool, condition.field) == ("db:query", "p95")
    assert condition.limit == pytest.approx(1.1)


def test_many_tools_are_compared_at_once() -> None:
    """Twenty thousand tools each have their verdict."""
    one, other = tool(200), tool(200, 3.0)
    names = [f"t{n}" for n in range(20_000)]
    found = compare(dict.fromkeys(names, one), dict.fromkeys(names, other))
    assert {found.verdict(name) for name in names} == {"slower"}
