"""
Whether a worker's resident memory grows and grows: medians of windows, and the line through them.

    samples ─► a window: an interval, three at least ─► its median ─► 20 in a row ─► grown?

It grows steadily when nine of ten pairs of medians rise (Kendall), the slope (Theil-Sen: the median
of the slopes of all pairs) makes up 32 MiB and a fourth of what it was, and the second half of the
time has a third of it: what fills up, a cache or a program that starts, gets slower. What is given
back now and then rises in fewer pairs. It has stopped when ten windows have not a tenth of the
slope that was told.

Pure. After a restart 20 windows are seen anew.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

__all__ = ["Grown", "Growth"]

_WINDOWS, _CALM_WINDOWS, _LEAST_SAMPLES = 20, 10, 3
_RISING_PAIRS, _LATE_SHARE, _CALM_SHARE = 0.9, 1 / 3, 0.1
_LEAST_BYTES, _LEAST_SHARE = 32 << 20, 0.25
# Of a long window with many samples every second is as good.
_MOST_SAMPLES = 1_000
# No two windows at the same time.
_LEAST_S = 1e-3


class Grown(NamedTuple):
    """Resident memory then and now, seconds in between, and the slope in bytes a second."""

    from_bytes: float
    to_bytes: float
    length_s: float
    slope: float


class Growth:
    """The resident memory of one worker; times are seconds of any clock that goes forward."""

    def __init__(self) -> None:
        self._windows: deque[tuple[float, float]] = deque(maxlen=_WINDOWS)
        self._samples: list[float] = []
        self._began_s: float | None = None

    def add(self, at_s: float, size_bytes: float, window_s: float) -> None:
        """It was *size_bytes* then; windows have *window_s* from now on."""
        if self._began_s is None:
            self._began_s = at_s
        self._samples.append(size_bytes)
        if at_s - self._began_s >= max(window_s, _LEAST_S) and len(self._samples) >= _LEAST_SAMPLES:
            self._windows.append(((self._began_s + at_s) / 2, _median(self._samples)))
            self._began_s, self._samples = at_s, []
        elif len(self._samples) > _MOST_SAMPLES:
            del self._samples[::2]

    def grown(self) -> Grown | None:
        """By how much it has grown steadily; None where it has not."""
        windows = list(self._windows)
        if len(windows) < _WINDOWS:
            return None
        first, middle, last = windows[0], windows[_WINDOWS // 2], windows[-1]
        rise = last[1] - first[1]
        # Before what takes longer: so it is with almost everybody.
        if rise < max(_LEAST_BYTES, _LEAST_SHARE * first[1]):
            return None
        pairs = list(combinations(windows, 2))
        rising = sum(late[1] > early[1] for early, late in pairs)
        if rising < _RISING_PAIRS * len(pairs) or last[1] - middle[1] < _LATE_SHARE * rise:
            return None
        slope, length_s = _slope(windows), last[0] - first[0]
        if slope * length_s < max(_LEAST_BYTES, _LEAST_SHARE * first[1]):
            return None
        return Grown(first[1], last[1], length_s, slope)

    def has_stopped(self, slope: float) -> bool:
        """True when it has for long not grown as it did with that *slope*, in bytes a second."""
        windows = list(self._windows)[-_CALM_WINDOWS:]
        return len(windows) == _CALM_WINDOWS and _slope(windows) < _CALM_SHARE * slope


def _slope(windows: list[tuple[float, float]]) -> float:
    """Theil and Sen's."""
    return _median(
        (late[1] - early[1]) / (late[0] - early[0]) for early, late in combinations(windows, 2)
    )


def _median(numbers: Iterable[float]) -> float:
    """As that of `statistics`, which every collector would import for this one."""
    ordered = sorted(numbers)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
