"""
How good a choice a tool is, from its likeness to the query and what is known of its calls; pure.

    utility = relevance × success × speed

    relevance = 1 / (1 + exp(-(a + b (similarity - best similarity))))
    success   = (successes + α) / (successes + failures + α + β)
    speed     = (L0 / (L0 + latency)) ^ γ

Relevance is a probability: that a candidate so far behind the best match does what is wanted. Only
the distance to the best counts, since embedders and queries differ in their level but little in
their distances. Success is the mean of a Beta distribution whose evidence decays, so that a tool
that nobody calls any more drifts back to what is assumed of an unknown one: α of α + β calls
succeed. A latency of L0, the budget, halves the utility.

Why not a weighted sum: a fast and reliable tool that does the wrong thing makes up for its
likeness there, and is chosen; in a product nothing makes up for a factor near zero. Why not the
similarity itself as a factor: cosines of right and wrong tools lie close together.

Thompson sampling draws success from that distribution instead of taking its mean, so that what is
little known is tried now and then: Thompson, W. R.: On the likelihood that one unknown probability
exceeds another. Biometrika 25 (1933).
"""

from __future__ import annotations

import math
from random import Random
from typing import Any

import msgspec

__all__ = ["EXPLORERS", "MODES", "Weighing", "is_number"]

MODES = ("utility", "similarity", "additive")
EXPLORERS = ("thompson",)


class Weighing(msgspec.Struct, frozen=True, kw_only=True):
    """
    How candidates are weighed; ValueError for a figure that makes no sense.

    ``calibration`` is (a, b), ``prior`` (α, β) in calls; ``weights`` are those of similarity,
    success and speed in the mode ``additive``. The default calibration was fitted by maximum
    likelihood to cosines of all-MiniLM-L6-v2, on half of the queries that `bench.rag` has.
    """

    mode: str = "utility"
    latency_budget_s: float = 1.0
    gamma: float = 1.0
    gate: float | None = None
    explore: str | None = None
    calibration: tuple[float, float] = (-0.25, 33.0)
    prior: tuple[float, float] = (2.0, 0.5)
    weights: tuple[float, float, float] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        _require("mode", self.mode in MODES, self.mode, f"one of {', '.join(MODES)}")
        known = self.explore is None or self.explore in EXPLORERS
        _require("explore", known, self.explore, f"{', '.join(EXPLORERS)}, or None")
        _require_above("latency_budget_s", self.latency_budget_s, is_zero_fine=False)
        _require_above("gamma", self.gamma)
        if self.gate is not None:
            _require_above("gate", self.gate)
        for part in self.prior:
            _require_above("prior", part, is_zero_fine=False)
        for part in self.weights:
            _require_above("weights", part)
        offset, slope = self.calibration
        _require("calibration", is_number(offset), offset, "a finite number")
        _require_above("calibration", slope)

    def relevance(self, behind: float) -> float:
        """The probability that a candidate whose similarity is *behind* the best fits."""
        offset, slope = self.calibration
        logit = offset - slope * max(behind, 0.0)
        # Either way no power is too great for a float.
        if logit >= 0:
            return 1.0 / (1.0 + math.exp(-logit))
        return math.exp(max(logit, -700.0)) / (1.0 + math.exp(max(logit, -700.0)))

    def success(self, successes: float, failures: float, rng: Random | None = None) -> float:
        """The probability that the next call succeeds; drawn from its distribution by *rng*."""
        alpha, beta = self.prior[0] + successes, self.prior[1] + failures
        return rng.betavariate(alpha, beta) if rng else alpha / (alpha + beta)

    def speed(self, latency_s: float) -> float:
        """Between 0 and 1: what is left of a success that takes so long."""
        budget_s = self.latency_budget_s
        return math.pow(budget_s / (budget_s + max(latency_s, 0.0)), self.gamma)

    def score(self, similarity: float, relevance: float, success: float, speed: float) -> float:
        """What candidates are ordered by, the greatest first."""
        if self.mode == "similarity":
            return similarity
        if self.mode == "additive":
            parts = (similarity, success, speed)
            return sum(weight * part for weight, part in zip(self.weights, parts, strict=True))
        return relevance * success * speed


def is_number(value: object) -> bool:
    """True for what is a finite number, of Python's own kind or numpy's."""
    try:
        return not isinstance(value, bool | str | bytes) and math.isfinite(value)  # type: ignore[arg-type]  # whatever is no number raises, below
    except (TypeError, ValueError, OverflowError):
        return False


def _require(key: str, is_right: bool, found: Any, expected: str) -> None:
    if not is_right:
        raise ValueError(f"{key}: found {found!r}, expected {expected}")


def _require_above(key: str, value: Any, *, is_zero_fine: bool = True) -> None:
    expected = "0 or more" if is_zero_fine else "more than 0"
    is_right = is_number(value) and (value > 0 or (is_zero_fine and value == 0))
    _require(key, is_right, value, f"a number, {expected}")
