"""How figures are written for people."""

from __future__ import annotations

import math

import pytest

from shmperf.views.formatting import duration


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (0.0, "0 ns"),
        (9.994e-7, "999 ns"),
        (9.996e-7, "1 µs"),
        (9.994e-4, "999 µs"),
        (9.996e-4, "1 ms"),
        (0.9994, "999 ms"),
        (0.9997, "1 s"),
        (59.95, "60 s"),
        (999.4, "999 s"),
        (999.6, "1,000 s"),
        (123_456.0, "123,456 s"),
    ],
)
def test_duration_has_three_figures_and_the_unit_that_fits(
    seconds: float | None, shown: str
) -> None:
    """Whatever is just below the next unit is one of it, and never 1e+03 of its own."""
    assert duration(seconds) == shown


def test_no_duration_is_written_with_an_exponent() -> None:
    """From a nanosecond to days each value is read at a glance."""
    for step in range(15_000):
        assert "e" not in duration(math.pow(10, -9 + step / 1000))
