"""Kept calls and their lines, made in C and in Python of the same bytes."""

from __future__ import annotations

import gc
import random
import re
import sys
from array import array
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shmperf.analysis.calltree import Bounds, CallTree
from shmperf.analysis.totals import Totals
from shmperf.collector.bodies import Bodies
from shmperf.collector.keeping import Kept
from shmperf.compiled.chosen import hot, why_not
from shmperf.config.options import Options
from shmperf.shm import ring as rings
from shmperf.shm.mask import Mask
from shmperf.shm.record import SLOT, SLOT_BYTES, Call, Callee, Slot
from shmperf.shm.ring import Batch, RingReader, ring_bytes
from shmperf.storage import lines, order

pytestmark = pytest.mark.skipif(hot is None, reason=f"no compiled path: {why_not}")

_SLOTS = 32
_LATEST = 1 << 62
_TEXTS = st.one_of(
    st.text(max_size=60),
    st.sampled_from(["password=x", "sk-abc", "é" * 90, '"\\\n\x01\x7f', "Bearer 1", "a" * 190]),
)
_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 64) - 1),
    st.integers(-300, 300),
    st.floats(),
    _TEXTS,
    st.binary(max_size=20),
    st.lists(st.integers(0, 9), max_size=3),
    st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=2),
)
_BODIES = st.one_of(
    st.binary(max_size=220),
    st.lists(_VALUES, max_size=5).map(msgspec.msgpack.encode),
    st.tuples(st.lists(_VALUES, max_size=3), st.text(max_size=9)).map(msgspec.msgpack.encode),
    st.dictionaries(st.text(max_size=5), _VALUES, max_size=3).map(msgspec.msgpack.encode),
    st.just(b""),
    st.tuples(st.lists(_VALUES, max_size=3).map(msgspec.msgpack.encode), st.binary(max_size=3)).map(
        b"".join
    ),
)
_CALLEES = {
    0: Callee("plain", ("a", "b", "c")),
    1: Callee('tool é"', ("é", "b\\")),
    2: Callee("hidden", ("user", "password")),
    3: Callee("twice", ("a", "a")),
    4: Callee("none"),
}
_TIMES = st.one_of(
    st.integers(0, (1 << 64) - 1),
    st.integers(0, 20_000),
    st.integers(0, 1 << 50),
    st.just(1 << 62),
)


@st.composite
def _slots(draw: st.DrawFn) -> tuple[Any, ...]:
    body = draw(_BODIES)
    kind = draw(st.one_of(st.just(0), st.just(0), st.integers(0, 63)))
    length = draw(st.one_of(st.just(min(len(body), 255)), st.integers(0, 255)))
    sample = draw(st.sampled_from([0, 0, 0, 0x40, 0x80]))
    meta = sample << 32 | draw(st.integers(0, 5)) << 16 | kind << 8 | length
    start = draw(_TIMES)
    end = draw(st.one_of(_TIMES, st.integers(0, 1 << 40).map(lambda n: min(start + n, 1 << 63))))
    return draw(st.integers(0, 1 << 63)), draw(st.integers(0, 1 << 63)), start, end, meta, body


class _Lab:
    """Kept calls by both paths, with what each fault was told."""

    def __init__(self, limit: int, *, by_c: bool) -> None:
        self.told: list[str] = []
        self.bodies = Bodies(Options(), lambda cause, text, _: self.told.append(f"{cause} {text}"))
        self.kept = hot.Kept(limit) if by_c else Kept(limit)
        self.by_c = by_c
        unknown = Callee("?")
        self.worker: Any = SimpleNamespace(
            callees=_CALLEES, callee=lambda _: unknown, pid=77, name="w", fallback=None
        )
        self.offset_ns = 1_790_000_000_123_456_789

    def _decode(self, slot: Slot, worker: Any, done: int) -> Call:
        assert done == 3
        call = self.bodies.call_in(slot, worker)
        call.start_ns = min(call.start_ns, _LATEST) + self.offset_ns
        return call

    def batch(self, slots: list[tuple[Any, ...]]) -> Batch:
        memory = memoryview(bytearray(ring_bytes(_SLOTS)))
        for number, slot in enumerate(slots):
            SLOT.pack_into(memory, 256 + number * SLOT_BYTES, *slot, (_SLOTS + number) * SLOT_BYTES)
        known, rings.hot = rings.hot, hot if self.by_c else None
        try:
            return RingReader((memory, memory.cast("Q")), 0, _SLOTS).read()
        finally:
            rings.hot = known

    def take(self, known: dict[int, Call]) -> list[Call]:
        more: Any = (self.bodies.template_of, self.bodies.needles, self.offset_ns, _LATEST)
        return self.kept.take(known, self._decode, *more)


@given(st.lists(st.lists(_slots(), max_size=8), max_size=3), st.sampled_from([-1, 0, 1, 3]))
@settings(deadline=None, max_examples=400)
def test_calls_kept_in_c_are_the_same(batches: list[Any], limit: int) -> None:
    """Which are kept, in which order, what is in them, and what is told of damaged ones."""
    found = []
    for by_c in (False, True):
        lab = _Lab(limit, by_c=by_c)
        for slots in batches:
            lab.kept.add(lab.batch(slots), lab.worker, 3)
            # What was put together comes as slots.
            lab.kept.add(Batch.of(list(lab.batch(slots))[:2]), lab.worker, 3)
        length = len(lab.kept)
        calls = lab.take({})
        assert len(calls) == length
        assert lab.take({}) == []
        # A value that is none of JSON's is shown with its address.
        text = re.sub(rb" at 0x[0-9a-f]+", b"", msgspec.msgpack.encode([c.params for c in calls]))
        others = [msgspec.structs.replace(call, params="") for call in calls]
        found.append((text, others, lab.told))
    assert found[1] == found[0]


def test_a_call_that_is_known_is_not_decoded() -> None:
    """It is the one that is known."""
    lab = _Lab(-1, by_c=True)
    lab.kept.add(lab.batch([(5, 0, 1, 2, 0, b""), (6, 0, 2, 3, 0, b"")]), lab.worker, 3)
    known = Call("other", 5, 1, 0, 1, 1, 0, "{}")
    calls = lab.take({5: known})
    assert calls[0] is known
    assert calls[1].id == 6


def test_an_error_in_decoding_reaches_who_asks() -> None:
    """And nothing is left behind."""
    lab = _Lab(-1, by_c=True)
    lab.kept.add(lab.batch([(5, 0, 1, 2, 0x2000, b"")]), lab.worker, 2)
    with pytest.raises(AssertionError):
        lab.take({})
    assert len(lab.kept) == 0


@given(st.binary(max_size=208), st.lists(st.text(min_size=1, max_size=6), max_size=3))
@settings(deadline=None, max_examples=200)
def test_no_secret_passes_by_c(noise: bytes, keys: list[str]) -> None:
    """What the mask suspects is decoded by Python alone."""
    mask = Mask(keys or Options().capture.secret_keys)
    rest = noise.replace(b"\x00", b"password=")[:190]
    body = msgspec.msgpack.encode([rest.decode("latin-1")[:80]])[:208]
    lab = _Lab(-1, by_c=True)
    lab.bodies.mask, lab.bodies.needles = mask, mask.needles()
    asked: list[Slot] = []

    def decode(slot: Slot, _worker: Any, _done: int) -> Call:
        asked.append(slot)
        return Call("x", 1, 1, 0, 1, 1, 0, "")

    lab.kept.add(lab.batch([(5, 0, 1, 2, len(body), body)]), lab.worker, 3)
    more: Any = (lab.bodies.template_of, lab.bodies.needles, lab.offset_ns, _LATEST)
    lab.kept.take({}, decode, *more)
    assert not mask.suspects(body) or asked


_CALLS = st.builds(
    Call,
    tool=st.text(max_size=8),
    id=st.integers(0, (1 << 64) - 1),
    pid=st.integers(-1, 1 << 40),
    parent=st.sampled_from([0, 1, (1 << 64) - 1]),
    start_ns=st.one_of(
        st.integers(-5, (1 << 63) - 1),
        st.integers(0, 10**15),
        st.integers(1_700_000_000 * 10**9, 1_900_000_000 * 10**9),
    ),
    duration_ns=st.one_of(st.none(), st.integers(0, (1 << 63) - 1), st.integers(0, 100_000)),
    status=st.sampled_from([0, 0, 0, 1, 2, 3, 4]),
    params=st.text(max_size=300),
    truncated=st.booleans(),
    err=st.sampled_from([None, None, None, "E"]),
    message=st.sampled_from([None, None, None, "m"]),
    trace=st.sampled_from([0, 0, 3]),
    remote=st.sampled_from(["", "", "ab"]),
)


@given(st.lists(_CALLS, max_size=8))
@settings(deadline=None, max_examples=400)
@example([Call("t" * 40_000, 1, 1, 0, 5, 6, 0, "x" * 40_000)])
@example([Call("t" * 400, 1, 1, 0, 5, 6, 0, "\x01" * 400)])
def test_lines_made_in_c_are_the_same(calls: list[Call]) -> None:
    """Byte for byte."""
    assert hot.lines(calls, lines._text_of) == lines._json_lines([lines.line_of(c) for c in calls])


def test_seconds_are_written_as_msgspec_writes_them() -> None:
    """Whatever the number of nanoseconds."""
    choose = random.Random(7)  # noqa: S311  no secret
    times = [n for k in range(63) for n in (2**k - 1, 2**k, 2**k + 1)]
    times += [n for k in range(19) for n in (10**k - 1, 10**k, 10**k + 1, 3 * 10**k)]
    times += [choose.randrange(1, 1 << choose.randrange(1, 63)) for _ in range(30_000)]
    times += [choose.randrange(17 * 10**17, 19 * 10**17) for _ in range(30_000)]
    calls = [Call("t", 1, 1, 0, n, 0, 0, "{}") for n in times if n < 1 << 63]
    assert hot.lines(calls, lines._text_of) == lines._json_lines([lines.line_of(c) for c in calls])


_ENDS = st.tuples(
    st.one_of(st.integers(-9, 9), st.integers(-(1 << 64), 1 << 64)),
    st.one_of(st.none(), st.integers(0, 3), st.integers(0, 1 << 64)),
)


@given(st.lists(_ENDS, max_size=5), st.booleans())
def test_order_is_seen_in_c_as_in_python(ends: list[Any], are_sorted: bool) -> None:
    """What is in order stays as it is, and all else is sorted."""
    calls = [Call("t", n, 1, 0, start, took, 0, "{}") for n, (start, took) in enumerate(ends)]
    if are_sorted:
        calls.sort(key=order.by_end)
    found = order.in_order(calls)
    assert found == sorted(calls, key=order.by_end)
    small = [call.end_ns for call in calls if -(1 << 63) <= call.end_ns < 1 << 63]
    if len(small) == len(calls) and sorted(set(small)) == small:
        assert found is calls or any(abs(n or 0) >= 1 << 63 for pair in ends for n in pair)


def test_only_calls_become_lines() -> None:
    """Nothing else is looked into."""
    with pytest.raises(TypeError):
        hot.are_in_order([object()])
    with pytest.raises(TypeError):
        hot.are_in_order(())
    with pytest.raises(TypeError):
        hot.lines([object()], lines._text_of)
    with pytest.raises(TypeError):
        hot.lines((), lines._text_of)


def test_draining_leaves_no_references_behind() -> None:
    """What is read, counted, kept, decoded and written again and again is let go of each time."""
    body = msgspec.msgpack.encode([1, "text", 2.5])
    slots = [(n + 1 << 6, 0, n, 2 * n, len(body), body) for n in range(_SLOTS - 1)]

    def drain() -> None:
        lab = _Lab(5, by_c=True)
        for few in (slots[:3], slots):
            batch = lab.batch(few)
            columns = (batch.ids, batch.parents, batch.starts, batch.ends)
            assert [len(column) for column in columns] == [len(few)] * 4
            Totals().add_batch(batch, 0, batch.spread()[3])
            hot.last_of_rows([batch])
            batch.blocks(), batch.durations(), batch.at(1), list(batch)
            lab.kept.add(batch, lab.worker, 3)
            # What was put together, and what is not simple, goes another way.
            lab.kept.add(Batch.of(list(batch)[:2]), lab.worker, 3)
        lines.jsonl([*lab.take({}), Call("t", 1, 1, 0, 5, 6, 1, "x", err="E")])
        tree = CallTree(Bounds(crowd=5))
        # One that is settled here, one whose child outlives it, one that nobody asks for.
        for parents in ([7, 7, 8, 9, 0], [7, 0, 0, 0, 10]):
            starts = array("Q", range(5))
            tree.add("w", "tool", (array("Q", range(5)), parents, starts, starts))
        tree.add("w", "root", ([7, 8, 9], [0, 9, 0], [0, 0, 0], [9, 1, 9]))
        tree.take_delta()
        assert [one.id for one in tree.worker_gone("w", {7, 8})] == [8, 7]
        list(hot.Children())
        with pytest.raises(OverflowError):
            hot.Children().append((-1, 0, 0, "tool"))
        with pytest.raises(AttributeError):
            lab.kept.add(7, lab.worker, 3)

    for _ in range(200):
        drain()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(2_000):
        drain()
    gc.collect()
    # A block a round would be twice as many.
    assert sys.getallocatedblocks() - before < 1_000
