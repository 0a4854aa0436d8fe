"""What nodes publish, as bytes: it comes back as it was, and what is not ours is refused."""

from __future__ import annotations

import tracemalloc

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.errors import FormatError
from shmperf.fleet import wire

ORIGIN = bytes(range(16))
LINE = st.binary(max_size=50).filter(lambda line: b"\n" not in line)


@given(st.integers(0, 1 << 62), st.lists(LINE, min_size=1, max_size=20), st.integers(0, 9))
def test_a_batch_comes_back_as_it_was(first: int, lines: list[bytes], dropped: int) -> None:
    """Each line with its number; what was left out is counted, and keeps its number."""
    batch = wire.decode(wire.encode("node é", ORIGIN, first, lines, dropped))
    assert (batch.node, batch.origin, batch.first, batch.after) == (
        "node é",
        ORIGIN,
        first,
        first + len(lines),
    )
    assert (batch.dropped, batch.left_out) == (dropped, lines.count(b""))
    expected = [(number, line) for number, line in enumerate(lines, first) if line]
    assert wire.lines_of(batch) == expected


def test_a_storage_is_told_where_its_numbers_have_another_origin() -> None:
    """Else it is the origin; a batch that says nothing of it is whole, too."""
    other = bytes(16)
    assert wire.decode(wire.encode("n", ORIGIN, 0, [b"a"], storage=other)).storage == other
    plain = wire.encode("n", ORIGIN, 0, [b"a"], storage=ORIGIN)
    assert wire.decode(plain).storage == b""
    shorter = msgspec.msgpack.encode(msgspec.msgpack.decode(plain)[:-1])
    assert wire.decode(shorter) == wire.decode(plain)


@given(st.binary(max_size=200))
def test_garbage_is_refused(body: bytes) -> None:
    """No content of a message does more than that."""
    with pytest.raises(FormatError):
        wire.lines_of(wire.decode(body))


def test_another_version_is_told() -> None:
    """Whatever else it may hold: nobody here can know."""
    with pytest.raises(FormatError, match="batch of version 2, expected 1"):
        wire.decode(msgspec.msgpack.encode([2, {"new": "things"}]))


def changed(**fields: object) -> bytes:
    batch = wire.decode(wire.encode("n", ORIGIN, 5, [b"a", b"b"]))
    return msgspec.msgpack.encode(msgspec.structs.replace(batch, **fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"count": 0},
        {"count": 3},
        {"left_out": 1},
        {"first": -1},
        {"origin": b"short"},
        {"storage": bytes(17)},
        {"lines": b""},
        {"lines": b"\x28\xb5\x2f\xfdgarbage"},
        {"node": "n" * 256},
    ],
    ids=str,
)
def test_a_batch_that_contradicts_itself_is_refused(fields: dict[str, object]) -> None:
    """Numbers that do not fit the lines would tell one line twice, or another one."""
    with pytest.raises(FormatError):
        wire.lines_of(wire.decode(changed(**fields)))


@pytest.mark.parametrize("count", [1, 2, 1000])
def test_a_small_message_takes_no_more_memory_than_a_batch(count: int) -> None:
    """Kilobytes hold megabytes of newlines, which are counted before anything is made of them."""
    wide = wire.decode(wire.encode("n", ORIGIN, 0, [b"aa\n" * (4 << 20)]))
    batch = msgspec.structs.replace(wide, count=count)
    assert len(batch.lines) < 64 << 10
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            wire.lines_of(batch)
        assert tracemalloc.get_traced_memory()[1] < 30 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "lines",
    [
        [b"a" * (wire.MOST_BYTES // 1000)] * 1000,
        [b""] * 15_999 + [b"a" * wire.MOST_BYTES],
        [b"a" * (8 * wire.MOST_BYTES)],
    ],
    ids=["many", "left out", "one"],
)
def test_batches_as_large_as_they_are_cut_come_back(lines: list[bytes]) -> None:
    """And a single line may be larger."""
    found = wire.lines_of(wire.decode(wire.encode("n", ORIGIN, 0, lines)))
    assert [line for _, line in found] == [line for line in lines if line]


@given(st.text(max_size=255))
def test_any_name_makes_a_subject(node: str) -> None:
    """One token of it, the same for the same name, and another for another one."""
    subject = wire.subject_of("shmperf", node, 16)
    parts = subject.split(".")
    assert parts[:2] == ["shmperf", "records"]
    assert parts[2] == wire.partition_name(wire.partition_of(node, 16))
    assert len(parts) == 4
    assert subject.isascii()
    assert len(parts[3]) <= 64
    assert parts[3]


def test_names_that_differ_stay_apart() -> None:
    """Where other characters become ``_``, a sum tells them apart."""
    assert wire.name_of("node-7") == "node-7"
    names = {wire.name_of(node) for node in ("a.b", "a_b", "a b", "a/b")}
    assert len(names) == 4


@pytest.mark.parametrize(
    "text", ["", "shmperf/2 partitions=16", "shmperf/1 partitions=0", "shmperf/1 partitions=9999"]
)
def test_streams_that_are_not_ours_are_refused(text: str) -> None:
    """By what they say of themselves."""
    with pytest.raises(FormatError):
        wire.partitions_in(text)


def test_ours_tells_its_partitions() -> None:
    """As it was made."""
    assert wire.partitions_in(wire.description(32)) == 32
    assert wire.message_id(ORIGIN, 7, 2) == f"{ORIGIN.hex()}.7.2"
    assert wire.kinds_subject("s") == "s.records.*.*"
    assert wire.kinds_subject("s", 3) == "s.records.p03.*"
