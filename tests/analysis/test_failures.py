"""Failed calls by tool, outcome and class: counted exactly, within bounds."""

from __future__ import annotations

import msgspec

from shmperf.analysis.errorgroups import OTHERS, Bug
from shmperf.analysis.failures import Failure, Failures
from shmperf.shm.record import Outcome

ERROR = int(Outcome.ERROR)


def counts(failures: Failures) -> dict[tuple[str, str | None], int]:
    return {(tool, err): one.count for (tool, _, err), one in failures.known.items()}


def test_a_group_adds_up_over_deltas_and_restarts() -> None:
    """What deltas tell, in order, is what a snapshot holds: count, first and last time."""
    live, read = Failures(), Failures()
    for count, first_ns, last_ns in ((2, 50, 60), (3, 10, 20), (1, 70, 70)):
        live.add(Failure("a", ERROR, "KeyError", count, first_ns, last_ns))
        live.add(Failure("a", Outcome.TIMEOUT, "KeyError", 1, 5, 5))
        delta = msgspec.msgpack.encode(live.take_delta())
        read.apply(msgspec.msgpack.decode(delta, type=list[Failure]))
    assert live.take_delta() is None
    again = Failures.restore(live.state())
    for found in (live, read, again):
        group = found.known["a", ERROR, "KeyError"]
        assert (group.count, group.first_ns, group.last_ns) == (6, 10, 70)
        assert found.known["a", Outcome.TIMEOUT, "KeyError"].count == 3
    live.clear()
    assert live.state() == []


def test_what_exceeds_the_bounds_is_counted_all_the_same() -> None:
    """Classes beyond those of one tool, and tools beyond all, share groups; the sum is exact."""
    failures = Failures(most=4, most_of_a_tool=2)
    for tool in ("a", "b", "c"):
        for number in range(5):
            failures.add(Failure(tool, ERROR, f"E{number}", 1))
            failures.take_delta()
    assert counts(failures) == {
        ("a", "E0"): 1,
        ("a", "E1"): 1,
        ("a", OTHERS): 3,
        ("b", "E0"): 1,
        (OTHERS, OTHERS): 9,
    }
    assert Failures.restore(failures.state()).known == failures.known


def test_a_bug_counts_the_calls_that_it_failed() -> None:
    """By tool, each of them, while the exception itself counts once."""
    bug = Bug()
    for tool, is_first in (("inner", 1), ("outer", 0), ("inner", 1)):
        bug.merge(Bug(is_first, 1, 1, [tool], None, {tool: 1}))
    assert (bug.count, bug.calls) == (2, {"inner": 2, "outer": 1})
    for number in range(100):
        bug.merge(Bug(0, 1, 1, [f"t{number}"], None, {f"t{number}": 1}))
    assert sum(bug.calls.values()) == 103
    assert len(bug.calls) <= len(bug.tools) + 1
