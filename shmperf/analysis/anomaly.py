"""
Which durations leave their tool's usual range: a window of each tool's newest durations.

    usual range:  from  5th percentile - margin  to  95th percentile + margin

of the window before the call. The margin is the greatest of three: the threshold's share of the
percentile; half the distance between the two, since a tool that always spreads is usual in all of
its spread; and `LEAST_NS`, since below that it is the scheduler that speaks and not the tool. Why
percentiles and not the mean: one outlier does not move them, and a tool that has become slower for
good is told of for a few calls and then has another usual range.

Pure: the collector feeds it what it drains. Of one tool at most one call a second is told, with
how many there were since the last; one that is twice as far off as the last is told at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import msgspec

from shmperf.config.options import Watch

__all__ = ["UNUSUAL", "Finding", "Findings", "Usual", "sentence", "told_of"]

# The file in the session directory where the collector shows what workers are to tell.
UNUSUAL = "unusual"

LEAST_NS = 1_000_000
_PAUSE_NS = 1_000_000_000
_MOST_TOOLS = 10_000
# Findings that `status` shows.
_MOST_KNOWN = 20


class Finding(msgspec.Struct, array_like=True, frozen=True):
    """A call whose duration left the usual range; ``at_ns`` is its end as wall time."""

    tool: str
    id: int
    pid: int
    at_ns: int
    duration_ns: int
    low_ns: int
    high_ns: int
    samples: int
    untold: int = 0


class Findings:
    """An analysis (see `table`): ``known`` is the newest findings, the oldest of them first."""

    def __init__(self) -> None:
        self.known: list[Finding] = []
        # True when the last delta told some.
        self.has_news = False
        self._new: list[Finding] = []

    def add(self, finding: Finding) -> None:
        """Take in another one."""
        self._new.append(finding)

    @property
    def has_untold(self) -> bool:
        """True when the next delta tells some."""
        return bool(self._new)

    def take_delta(self) -> list[Finding] | None:
        """What was found since the last delta."""
        delta, self._new = self._new, []
        self.has_news = bool(delta)
        if not delta:
            return None
        self.apply(delta)
        return delta

    def apply(self, delta: list[Finding]) -> None:
        """Add *delta*; the oldest go."""
        self.known = [*self.known, *delta][-_MOST_KNOWN:]

    def clear(self) -> None:
        """Forget everything."""
        self.known, self._new = [], []

    def state(self) -> list[Finding]:
        """All of them."""
        return self.known

    @classmethod
    def restore(cls, state: list[Finding]) -> Findings:
        """Findings that were written before."""
        findings = cls()
        findings.known = state
        return findings


def sentence(finding: Finding) -> str:
    """*finding* as one line for people."""
    duration, low, high = (
        ns / 1e6 for ns in (finding.duration_ns, finding.low_ns, finding.high_ns)
    )
    more = f", and {finding.untold} more before" if finding.untold else ""
    return (
        f"{finding.tool}: call {finding.id:016x} took {duration:.3f} ms, usual are {low:.3f} to "
        f"{high:.3f} ms by the last {finding.samples} calls{more}"
    )


class Unusual(msgspec.Struct, kw_only=True):
    """A finding as `status` has it: times are Unix seconds, durations seconds."""

    tool: str
    id: str
    pid: int
    at: float
    duration_s: float
    usual_from_s: float
    usual_to_s: float
    samples: int
    untold: int


def told_of(finding: Finding) -> Unusual:
    """*finding* as `status` has it."""
    return Unusual(
        tool=finding.tool,
        id=f"{finding.id:016x}",
        pid=finding.pid,
        at=finding.at_ns / 1e9,
        duration_s=finding.duration_ns / 1e9,
        usual_from_s=finding.low_ns / 1e9,
        usual_to_s=finding.high_ns / 1e9,
        samples=finding.samples,
        untold=finding.untold,
    )


class _Window:
    __slots__ = ("durations", "high", "low", "told_ns", "told_off_ns", "untold")

    def __init__(self, size: int) -> None:
        self.durations: deque[int] = deque(maxlen=size)
        self.low = self.high = self.untold = self.told_off_ns = 0
        self.told_ns = -_PAUSE_NS

    def settle(self, threshold: float) -> None:
        """The range that the present durations make usual."""
        ordered = sorted(self.durations)
        last = len(ordered) - 1
        least, most = ordered[round(last * 0.05)], ordered[round(last * 0.95)]
        margin = max((most - least) // 2, LEAST_NS)
        self.low = max(0, least - max(margin, round(least * threshold)))
        self.high = most + max(margin, round(most * threshold))


class Usual:
    """The usual range of every tool."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self._size = watch.window_size
        self._least = min(watch.min_samples, watch.window_size)
        self._step = max(1, watch.window_size // 4)
        self._windows: dict[str, _Window] = {}

    def look(
        self, tool: str, durations_ns: Sequence[int], ends_ns: Sequence[int]
    ) -> list[tuple[int, int, int, int, int]]:
        """
        Take in calls of *tool* in their order; those to be told of.

        Of each: its index, the range that it left, how many calls that comes from, and how many
        others were not told. Most batches cost one comparison and a sort of the window.
        """
        window = self._windows.get(tool)
        if window is None:
            if len(self._windows) >= _MOST_TOOLS:
                return []
            window = self._windows[tool] = _Window(self._size)
        unusual: list[tuple[int, int, int, int, int]] = []
        at, count = 0, len(durations_ns)
        while at < count:
            known = len(window.durations)
            if known < self._least:
                end = min(count, at + self._least - known)
            else:
                rest = durations_ns[at:]
                is_usual = min(rest) >= window.low and max(rest) <= window.high
                end = count if is_usual else min(count, at + self._step)
                if not is_usual:
                    self._tell(window, at, durations_ns[at:end], ends_ns, unusual)
            window.durations.extend(durations_ns[max(at, end - self._size) : end])
            if len(window.durations) >= self._least:
                window.settle(self.watch.variance_threshold)
            at = end
        return unusual

    def _tell(
        self,
        window: _Window,
        first: int,
        durations_ns: Sequence[int],
        ends_ns: Sequence[int],
        unusual: list[tuple[int, int, int, int, int]],
    ) -> None:
        low, high = window.low, window.high
        for index, duration in enumerate(durations_ns, first):
            if low <= duration <= high:
                continue
            off_ns = max(duration - high, low - duration)
            is_too_soon = ends_ns[index] - window.told_ns < _PAUSE_NS
            if is_too_soon and off_ns < 2 * window.told_off_ns:
                window.untold += 1
                continue
            unusual.append((index, low, high, len(window.durations), window.untold))
            window.told_ns, window.told_off_ns, window.untold = ends_ns[index], off_ns, 0
