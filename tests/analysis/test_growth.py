"""Growing memory: what is told as steady growth, what is not, and when it has stopped."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis.growth import Growth

MIB = 1 << 20
EVERY_S, WINDOW_S = 5.0, 30.0
# So many samples are in 20 windows and a bit.
SAMPLES = 150


def seen(size: Callable[[int], float], samples: int = SAMPLES) -> Growth:
    """A worker that had *size* of the place of each sample."""
    found = Growth()
    for place in range(samples):
        found.add(1_000.0 + place * EVERY_S, size(place), WINDOW_S)
    return found


def test_steady_growth_is_told() -> None:
    """From, to and the slope are those of the line."""
    grown = seen(lambda place: (100 + place) * MIB).grown()
    assert grown is not None
    assert grown.slope == pytest.approx(MIB / EVERY_S)
    assert grown.to_bytes - grown.from_bytes == pytest.approx(grown.slope * grown.length_s)
    assert grown.length_s > 500


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(lambda place: 100 * MIB, id="constant"),
        pytest.param(lambda place: (100 + place / 10) * MIB, id="too little"),
        pytest.param(lambda place: (1_000 + place) * MIB, id="too small a share"),
        pytest.param(lambda place: (100 + 200 * (place > 70)) * MIB, id="a step"),
        pytest.param(lambda place: (100 + 10 * (place % 20)) * MIB, id="batches"),
        pytest.param(lambda place: (100 + 3 * (place % 75)) * MIB, id="long batches"),
        pytest.param(lambda place: (100 + min(place, 60) * 5) * MIB, id="a start"),
        pytest.param(lambda place: (400 - 250 * math.exp(-place / 30)) * MIB, id="a cache"),
        pytest.param(lambda place: (100 + 300 * (place % 40 == 0)) * MIB, id="single peaks"),
        pytest.param(lambda place: (900 - 5 * place) * MIB, id="shrinks"),
        pytest.param(lambda place: (200 + 100 * math.sin(place / 25)) * MIB, id="goes up and down"),
    ],
)
def test_what_is_no_growth(size: Callable[[int], float]) -> None:
    """Steps, starts, caches, batches and peaks are told at no time."""
    for samples in range(120, 301, 6):
        assert seen(size, samples).grown() is None


def test_single_peaks_hide_no_growth() -> None:
    """The median of a window, and of all slopes, does not see them."""
    assert seen(lambda place: (100 + place + 500 * (place % 30 == 0)) * MIB).grown() is not None


def test_few_minutes_are_too_few() -> None:
    """Nothing is told before 20 windows."""
    assert seen(lambda place: (100 + 50 * place) * MIB, 110).grown() is None


def test_growth_that_stops_has_stopped_after_ten_windows() -> None:
    """Not before, and not where it only gets a bit slower."""
    grown = seen(lambda place: (100 + place) * MIB).grown()
    assert grown is not None
    slope = grown.slope
    assert not seen(lambda place: (100 + min(place, 150)) * MIB, 180).has_stopped(slope)
    assert seen(lambda place: (100 + min(place, 150)) * MIB, 230).has_stopped(slope)
    assert not seen(lambda place: (100 + place / 2) * MIB, 230).has_stopped(slope)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 60), min_size=SAMPLES, max_size=300),
    st.floats(0.01, 100.0),
)
def test_what_wavers_around_a_level_is_no_growth(noise: list[int], every_s: float) -> None:
    """Noise is no growth unless most of it rises; clocks and windows of any length are taken."""
    growth = Growth()
    for place, more in enumerate(noise):
        growth.add(place * every_s, (100 + more) * MIB, WINDOW_S)
    grown = growth.grown()
    assert grown is None or grown.to_bytes - grown.from_bytes >= 32 * MIB
