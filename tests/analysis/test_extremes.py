"""The least and the greatest since a mark."""

from __future__ import annotations

import msgspec

from shmperf.analysis.extremes import Extremes, ExtremesState


def test_ranges_are_of_what_came_since_their_mark() -> None:
    """Each mark has its own; one that nobody has made has none."""
    found = Extremes()
    found.add("t", 1, 100)
    found.begin("a")
    found.add("t", 20, 30)
    found.begin("b")
    found.add("t", 25, 26)
    found.add("u", 5, 5)
    assert found.since("a") == {"t": (20, 30), "u": (5, 5)}
    assert found.since("b") == {"t": (25, 26), "u": (5, 5)}
    assert found.since("c") == {}
    found.clear()
    assert found.since("a") == {}


def test_the_oldest_marks_give_way() -> None:
    """Any number of programs may make marks; those of the latest sixteen are known."""
    found, replica = Extremes(), Extremes()
    for number in range(20):
        found.begin(str(number))
        found.add("t", number, number)
        replica.apply(found.take_delta() or {})
    assert list(found.marks) == list(map(str, range(4, 20)))
    assert replica.marks == found.marks
    assert found.since("4") == {"t": (4, 19)}


def test_deltas_and_state_tell_everything() -> None:
    """A restart goes on with the same ranges, from frames or from a snapshot."""
    found, replica = Extremes(), Extremes()
    found.begin("a")
    for least, greatest in ((5, 6), (5, 6), (2, 9), (3, 4)):
        found.add("t", least, greatest)
        delta = found.take_delta()
        if delta is not None:
            replica.apply(delta)
    assert found.take_delta() is None
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(found.state()), type=ExtremesState)
    assert Extremes.restore(written).marks == replica.marks == {"a": {"t": (2, 9)}}
