"""
Two sets of totals, tool by tool: what got slower, by how much, and how sure that is.

    slower, faster   the interval of the ratio excludes 1, and the ratio is at least 5 % off
    same             the interval lies within 10 % of 1: nothing that anybody would mend
    unsure           neither: too few calls to say
    new, gone        called on one side only

The median and the 95th percentile decide; where they disagree, the tool is slower, since slow calls
are what people wait for. The intervals that are shown hold the truth in 95 of 100 cases, each for
itself. Verdicts and conditions are many claims at once, so they go by wider ones: the 5 % of doubt
is divided by the number of claims (Bonferroni), and all of them hold together in 95 of 100 cases.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from .quantiles import Estimate, Histogram, difference, ratio, share
from .totals import Totals

__all__ = [
    "QUANTILES",
    "Against",
    "Change",
    "Comparison",
    "Difference",
    "Earlier",
    "Measured",
    "Side",
    "ToolComparison",
    "Verdict",
    "change_text",
    "compare",
]

DOUBT = 0.05
QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
_SHARES = tuple(QUANTILES.values())
_DECISIVE = ("p50", "p95")
_LEAST_EFFECT = 1.05
_SAME = 1.10

Verdict = Literal["slower", "faster", "same", "unsure", "new", "gone"]


class Side(msgspec.Struct, kw_only=True):
    """One tool on one side; durations in seconds, the rate a share of the calls that ended."""

    calls: int
    p50_s: float | None
    p95_s: float | None
    p99_s: float | None
    errors: int
    error_rate: float | None


class Change(msgspec.Struct, kw_only=True):
    """B's figure divided by A's, and its 95 % interval; None where there are too few calls."""

    ratio: float
    low: float | None
    high: float | None


class Difference(msgspec.Struct, kw_only=True):
    """B's share minus A's, and its 95 % interval."""

    difference: float
    low: float | None
    high: float | None


class Changes(msgspec.Struct, kw_only=True):
    """What has changed; None where a figure is missing on one side."""

    p50: Change | None = None
    p95: Change | None = None
    p99: Change | None = None
    error_rate: Difference | None = None


class ToolComparison(msgspec.Struct, kw_only=True):
    """One tool on both sides; a side is None where it was not called."""

    a: Side | None
    b: Side | None
    change: Changes
    verdict: Verdict


class Measured(NamedTuple):
    """
    One tool of one source. ``histogram`` is None where the source has percentiles only.

    A source without a histogram says what the percentiles were and not how sure they are.
    """

    totals: Totals
    histogram: Histogram | None
    percentiles_ns: Mapping[str, float]

    @classmethod
    def of(cls, totals: Totals) -> Measured:
        """What *totals* say."""
        histogram = Histogram(totals)
        found = dict(zip(QUANTILES, totals.quantiles(_SHARES), strict=True))
        return cls(totals, histogram, {name: ns for name, ns in found.items() if ns is not None})

    @property
    def ended(self) -> int:
        """Calls that finished or were aborted."""
        return self.totals.count + self.totals.aborted

    @property
    def failed(self) -> int:
        """Those that did not end well."""
        return self.totals.errors + self.totals.aborted

    def estimate(self, name: str, doubt: float) -> Estimate | None:
        """That percentile in nanoseconds; without limits where the source has none."""
        if self.histogram is not None:
            return self.histogram.quantile(QUANTILES[name], doubt)
        value = self.percentiles_ns.get(name)
        return None if value is None else Estimate(value, None, None)

    def side(self) -> Side:
        """As people and programs read it."""
        seconds = {name: ns / 1e9 for name, ns in self.percentiles_ns.items()}
        return Side(
            calls=self.totals.count,
            p50_s=seconds.get("p50"),
            p95_s=seconds.get("p95"),
            p99_s=seconds.get("p99"),
            errors=self.totals.errors,
            error_rate=self.failed / self.ended if self.ended else None,
        )


class Comparison:
    """Two sources, by tool, of which questions are asked."""

    def __init__(self, a: Mapping[str, Measured], b: Mapping[str, Measured]) -> None:
        self.a, self.b = a, b
        self.tools = sorted({*a, *b})
        self.both = [tool for tool in self.tools if tool in a and tool in b]

    def percentile(self, tool: str, name: str, claims: int = 1) -> Estimate | None:
        """The ratio of a percentile of *tool*, sure enough for one of so many *claims*."""
        doubt = DOUBT / max(1, claims)
        a, b = self.a[tool].estimate(name, doubt), self.b[tool].estimate(name, doubt)
        return None if a is None or b is None else ratio(a, b)

    def error_rate(self, tool: str, claims: int = 1) -> Estimate | None:
        """The difference of the shares of failed calls, as above."""
        doubt = DOUBT / max(1, claims)
        a = share(self.a[tool].failed, self.a[tool].ended, doubt)
        b = share(self.b[tool].failed, self.b[tool].ended, doubt)
        return None if a is None or b is None else difference(a, b)

    def verdict(self, tool: str) -> Verdict:
        """What can be said of *tool*, beside all others."""
        if tool not in self.a:
            return "new"
        if tool not in self.b:
            return "gone"
        claims = len(self.both) * len(_DECISIVE)
        found = [self.percentile(tool, name, claims) for name in _DECISIVE]
        return _verdict([one for one in found if one is not None])

    def of(self, tool: str) -> ToolComparison:
        """Everything about *tool*."""
        a, b = self.a.get(tool), self.b.get(tool)
        changes = Changes()
        if a is not None and b is not None:
            changes = Changes(
                p50=_change(self.percentile(tool, "p50")),
                p95=_change(self.percentile(tool, "p95")),
                p99=_change(self.percentile(tool, "p99")),
                error_rate=_difference(self.error_rate(tool)),
            )
        return ToolComparison(
            a=None if a is None else a.side(),
            b=None if b is None else b.side(),
            change=changes,
            verdict=self.verdict(tool),
        )


class Earlier(NamedTuple):
    """Another run, by the name that it was given, tool by tool."""

    name: str
    tools: Mapping[str, Measured]


class Against(NamedTuple):
    """The other run, by the name that it was given, and both side by side."""

    name: str
    found: Comparison


def compare(
    a: Mapping[str, Measured], b: Mapping[str, Measured], tool: str | None = None
) -> Comparison:
    """*b* against *a*; of one *tool*, or of all."""
    if tool is not None:
        a = {name: found for name, found in a.items() if name == tool}
        b = {name: found for name, found in b.items() if name == tool}
    return Comparison(a, b)


def change_text(ratio: float | None, low: float | None, high: float | None) -> str:
    """A ratio and its interval for a person: ``+20.0% (+17.3% to +22.9%)``."""
    value, least, most = (
        "?" if one is None else f"{(one - 1) * 100:+.1f}%" for one in (ratio, low, high)
    )
    return f"{value} ({least} to {most})"


def _verdict(ratios: list[Estimate]) -> Verdict:
    if any(_is_beyond(one.low, one.value) for one in ratios):
        return "slower"
    if any(_is_beyond(_turned(one.high), 1 / one.value) for one in ratios):
        return "faster"
    if ratios and all(_is_within(one) for one in ratios):
        return "same"
    return "unsure"


def _is_beyond(low: float | None, value: float) -> bool:
    return low is not None and low > 1 and value >= _LEAST_EFFECT


def _turned(high: float | None) -> float | None:
    return None if high is None else 1 / high


def _is_within(one: Estimate) -> bool:
    if one.low is None or one.high is None:
        return False
    return one.low >= 1 / _SAME and one.high <= _SAME


def _change(found: Estimate | None) -> Change | None:
    return None if found is None else Change(ratio=found.value, low=found.low, high=found.high)


def _difference(found: Estimate | None) -> Difference | None:
    if found is None:
        return None
    return Difference(difference=found.value, low=found.low, high=found.high)
