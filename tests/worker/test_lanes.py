"""Rings of many tools: each its own while there is memory, one for all others, and none is lost."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator

import pytest

from shmperf.config.options import Ring
from shmperf.shm.memory import remove_memory
from shmperf.shm.record import SLOT_BYTES, Callee
from shmperf.shm.segment import SHARED, Segment
from shmperf.worker.lanes import Lane, Lanes

RING = Ring(budget_bytes=1 << 20)


@pytest.fixture
def segment() -> Iterator[Segment]:
    name = f"shmperf-{secrets.token_hex(6)}"
    yield Segment(name, budget_bytes=RING.budget_bytes)
    remove_memory(name, None)


def lane_of(lanes: Lanes, number: int) -> Lane:
    lane = lanes.lane_for(f"job {number}", {Callee(f"job {number}"): number}, RING)
    assert lane is not None
    return lane


def test_tools_that_come_late_share_a_ring_that_becomes_large(segment: Segment) -> None:
    """First rings leave most of the memory to the one that all later tools begin in."""
    lanes = Lanes(segment)
    found = [lane_of(lanes, number) for number in range(1, 3_001)]
    shared = [lane for lane in found if lane.callee == SHARED]
    assert 40 < len(found) - len(shared) < 60
    assert len({id(lane) for lane in shared}) == 1
    slots = shared[0].writer.slots
    assert lanes.grow(shared[0], RING)
    assert shared[0].writer.slots == 16 * slots
    slots = 17 * slots
    while lanes.grow(shared[0], RING):
        slots += shared[0].writer.slots
    # A call of every tool has room before anybody drains.
    assert slots >= len(shared)
    assert segment.used_bytes <= RING.budget_bytes + 2_000 * SLOT_BYTES
    assert segment.beyond() is None


def test_ring_that_can_not_grow_warns_when_half_of_it_is_out(segment: Segment) -> None:
    """Once a larger ring was refused, the collector is called before the present one is full."""
    lanes = Lanes(segment)
    lane = lane_of(lanes, 1)
    while segment.add_ring(2, 16):
        pass
    assert not lane.writer.in_halves
    assert not lanes.grow(lane, RING)
    assert lane.writer.in_halves


def test_a_tool_that_fills_the_shared_ring_gets_one_of_its_own(segment: Segment) -> None:
    """At the second grant that it uses up, and while half of the memory is left."""
    lanes = Lanes(segment)
    found = [lane_of(lanes, number) for number in range(1, 61)]
    assert found[-1].callee == SHARED
    noisy = {Callee("job 60"): 60}
    assert lanes.promoted("job 60", noisy, RING) is None
    assert lanes.promoted("job 59", {Callee("job 59"): 59}, RING) is None
    own = lanes.promoted("job 60", noisy, RING)
    assert own is not None
    assert own.callee == 60
    while segment.used_bytes <= RING.budget_bytes // 2:
        segment.add_ring(1, 16)
    assert lanes.promoted("job 59", {Callee("job 59"): 59}, RING) is None


def test_tools_without_a_name_are_told_once_and_recorded_together(
    segment: Segment, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the name table is full, a tool gets the shared ring, and the first are shown."""
    lanes = Lanes(segment)
    while segment.add_callee(1, Callee("t")):
        pass
    with caplog.at_level(logging.WARNING, "shmperf"):
        found = {lane_of(lanes, number).callee for number in range(2, 50)}
    assert found == {SHARED}
    beyond = segment.beyond()
    assert beyond is not None
    assert beyond.tool == "tools beyond 50000"
    assert beyond.first[:2] == ("job 2", "job 3")
    assert segment.faults() == {"no_name": 48}
    (record,) = caplog.records
    assert "'job 2'" in record.getMessage()
    assert "'tools beyond 50000'" in record.getMessage()


def test_a_tool_without_a_number_has_no_name(segment: Segment) -> None:
    """Numbers of callees can be used up, too: such a tool is one of those beyond."""
    lane = Lanes(segment).lane_for("late", {Callee("late", ("q",)): 0}, RING)
    assert lane is not None
    assert lane.callee == SHARED
    beyond = segment.beyond()
    assert beyond is not None
    assert beyond.first == ("late",)


def in_halves(segment: Segment) -> tuple[Lanes, Lane]:
    """A lane whose ring is large, but not as large as it may become."""
    lanes = Lanes(segment)
    lane = lane_of(lanes, 1)
    lane.writer.in_halves = True
    return lanes, lane


def test_a_lane_is_hurried_once_its_grants_are_short_for_a_while(segment: Segment) -> None:
    """A burst is none, and one grant that lasts begins the count anew."""
    _, lane = in_halves(segment)
    found = [lane.is_hurried(10 + n * 0.1) for n in range(25)]
    assert [n for n, hurried in enumerate(found) if hurried] == [8, 16, 24]
    assert not lane.is_hurried(20.0)
    assert not any(lane.is_hurried(20.0 + n * 0.1) for n in range(1, 8))
    assert not any(lane.is_hurried(30.0 + n * 0.3) for n in range(20))


def test_a_lane_is_widened_only_with_what_others_do_not_need(segment: Segment) -> None:
    """Two thirds of the memory are left; the shared ring grows when it is full and not before."""
    lanes, lane = in_halves(segment)
    former = lane.writer
    assert lanes.widen(lane, RING)
    assert lane.writer.slots == 4 * former.slots
    assert former.current is not lane.writer.current
    while lanes.widen(lane, RING):
        pass
    assert RING.budget_bytes // 8 < segment.used_bytes <= RING.budget_bytes // 3
    assert lane_of(lanes, 2).callee == SHARED
    shared = lanes.lane_for("beyond", {}, RING)
    assert shared is not None
    assert not lanes.widen(shared, RING)
