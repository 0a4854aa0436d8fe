"""Which interval calls count in, seen by their ends alone."""

from __future__ import annotations

from shmperf.analysis.timeline import LENGTH_NS
from shmperf.collector.dating import Dating
from shmperf.collector.faults import Faults
from shmperf.collector.wallclock import WallClock
from shmperf.config.options import Options
from shmperf.storage.state import Ledger

NOW_NS = 50 * LENGTH_NS + 5
OFFSET_NS = 1000 * LENGTH_NS


class Moment:
    """A ledger and its clock, which shows what a test says."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS
        self.off_ns = 0
        self.ledger = Ledger(Options())
        self.wall = WallClock(self.ledger, "boot")
        self.wall.monotonic_ns = lambda: self.now_ns
        self.wall.wall_ns = lambda: OFFSET_NS + self.now_ns + self.off_ns
        self.wall.look()
        self.dating = Dating(self.ledger, self.wall)
        self.dating.look()


def test_the_present_interval_is_known_by_two_bounds() -> None:
    """What ended between them is counted without asking; until it is over nothing changes."""
    moment = Moment()
    dating = moment.dating
    assert (dating.begin_ns, dating.end_ns) == (50 * LENGTH_NS, 51 * LENGTH_NS)
    assert not dating.is_due()
    moment.now_ns = dating.end_ns
    assert dating.is_due()
    dating.look()
    assert dating.begin_ns == 51 * LENGTH_NS
    assert dating.is_behind()
    dating.close(is_caught_up=True)
    moment.now_ns += 2 * 10**9
    dating.close(is_caught_up=False)
    assert dating.is_behind()
    dating.close(is_caught_up=True)
    assert not dating.is_behind()
    moment.now_ns += 29 * 10**9
    dating.look()
    dating.close(is_caught_up=False)
    assert moment.ledger.intervals.time.closed == 1050


def test_calls_of_a_run_are_told_by_their_end() -> None:
    """Those of before and after it count, in whatever order they are drained."""
    moment = Moment()
    dating = moment.dating
    moment.now_ns += 10
    dating.in_run = True
    assert dating.in_run
    moment.now_ns += 10
    dating.in_run = False
    ends_ns = [NOW_NS, NOW_NS + 15, NOW_NS + 25, NOW_NS + LENGTH_NS]
    assert dating.parts_of(ends_ns) == {1050: [0, 2], None: [1], 1051: [3]}
    assert dating.parts_of(ends_ns[:1]) == {1050: range(1)}
    assert (dating.begin_ns, dating.end_ns) == (NOW_NS + 20, 51 * LENGTH_NS)


def test_what_children_covered_counts_at_their_parents_end() -> None:
    """By tool, in the present interval and in that before; in none of a run."""
    moment = Moment()
    dating, intervals = moment.dating, moment.ledger.intervals
    covered = [("a", NOW_NS, 3), ("a", NOW_NS + 1, 4), ("b", NOW_NS - LENGTH_NS, 5)]
    dating.cover(covered)
    dating.in_run = True
    dating.cover([("c", NOW_NS + 1, 4)])
    intervals.take_delta()
    spans = [
        {tool: totals.covered_ns for tool, totals in span.tools.items()}
        for span in intervals.view().spans()
    ]
    assert spans == [{"b": 5}, {"a": 7}]


def test_a_clock_that_is_set_back_is_told_while_it_is() -> None:
    """Once, by how much; what is dated goes on where it was, and a step forward is no news."""
    moment, faults = Moment(), Faults()
    wall = moment.wall
    # Where the wall clock is, in seconds from where it began.
    for off_s, is_told in ((0, False), (3600, False), (3550, False), (0, True), (3605, False)):
        before_ns, moment.off_ns = wall.now_ns(), off_s * 10**9
        wall.look()
        moment.ledger.state.clock = wall.take_change() or moment.ledger.state.clock
        wall.tell(faults)
        assert wall.now_ns() >= before_ns
        assert ("clock_set_back" in faults.told) == is_told, off_s
    assert faults.news({}) == {"clock_set_back": 1}
