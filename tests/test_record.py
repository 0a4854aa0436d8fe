"""One call's bytes: what goes into a slot comes out, masked, bounded, and never believed."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.options import Options
from shmperf.record import (
    BODY_BYTES,
    DETAIL,
    NAMED,
    PRUNED,
    SLOT,
    SLOT_BYTES,
    Callee,
    Slot,
    Status,
    callee_of,
    decode,
    is_intact,
    masker,
    meta_of,
    parse_body,
    seal,
    status_of,
)

CALLEE = Callee("search", ("query", "top"), "more")
MASK = masker(Options().capture.secret_keys)
pack = msgspec.msgpack.encode


def slot(body: bytes, kind: int = 0, callee: int = 1) -> Slot:
    return (7, 3, 1_000, 5_000, meta_of(callee, kind, min(len(body), BODY_BYTES)), body, 256)


def params(value: object, kind: int = 0) -> object:
    body = pack(value)
    return json.loads(decode(slot(body, kind), body, CALLEE, MASK, 1).params)


def test_slot_is_256_bytes_with_the_position_last() -> None:
    """A slot's words and body lie where the picture shows them."""
    raw = SLOT.pack(1, 2, 3, 4, 5, b"body", 6)
    assert len(raw) == SLOT_BYTES == 256
    assert raw[-8:] == (6).to_bytes(8, "little")
    assert raw[40:44] == b"body"


def test_meta_word_holds_callee_kind_and_length() -> None:
    """The parts of a meta word come back as they went in."""
    meta = meta_of(0xABCD, Status.TIMEOUT | NAMED, 200)
    assert (callee_of(meta), status_of(meta), meta & 0xFF) == (0xABCD, Status.TIMEOUT, 200)


@pytest.mark.parametrize(
    ("value", "kind", "shown"),
    [
        (["q", 3], 0, {"query": "q", "top": 3}),
        (["q", 3, 4, 5], 0, {"query": "q", "top": 3, "more": [4, 5]}),
        ({"top": 1}, 0, {"top": 1}),
        ([["q"], {"top": 2}], NAMED, {"query": "q", "top": 2}),
        (7, 0, {"value": 7}),
    ],
)
def test_parameters_stand_under_their_names(value: object, kind: int, shown: object) -> None:
    """Positional values get the function's names, keywords keep theirs."""
    assert params(value, kind) == shown


def test_secrets_are_masked_at_any_depth() -> None:
    """A value under a secret's key never comes out, counts of tokens do."""
    shown = params({"a": [{"API_KEY": "x", "n": {"Set-Cookie": 1}}], "max_tokens": 5, "token": 9})
    assert shown == {
        "a": [{"API_KEY": "***", "n": {"Set-Cookie": "***"}}],
        "max_tokens": 5,
        "token": "***",
    }


def test_summary_is_cut_and_says_so() -> None:
    """Normal mode shows 200 characters at most and marks what it cut."""
    body = pack(["x" * 500])
    call = decode(slot(body), body, CALLEE, MASK, 1)
    assert len(call.params) == 200
    assert call.truncated
    pruned = decode(slot(b"", PRUNED), b"", CALLEE, MASK, 1)
    assert pruned.truncated


def test_numbers_that_json_lacks_become_null() -> None:
    """NaN and infinities are null."""
    assert params([float("nan"), float("inf")]) == {"query": None, "top": None}


def test_failed_call_carries_the_class_of_its_error() -> None:
    """The outcome and the error's class come out beside the parameters."""
    body = pack((["q"], "ValueError"))
    call = decode(slot(body, Status.ERROR), body, CALLEE, MASK, 9)
    assert (call.status, call.err, call.pid) == (Status.ERROR, "ValueError", 9)
    assert json.loads(call.params) == {"query": "q"}


def test_detail_carries_everything() -> None:
    """A detailed body gives memory, CPU, error and masked metadata."""
    body = pack((["q"], 4096, 12.5, "KeyError", "'k'", {"secret": 1, "seen": [2]}))
    call = decode(slot(body, DETAIL | Status.ERROR), body, CALLEE, MASK, 1)
    assert call.detail is not None
    assert (call.detail.memory_bytes, call.detail.cpu_percent) == (4096, 12.5)
    assert (call.err, call.detail.error) == ("KeyError", "'k'")
    assert json.loads(call.detail.metadata or "") == {"secret": "***", "seen": [2]}


@given(st.binary(max_size=300), st.integers(0, 0xFF), st.integers(0, (1 << 64) - 1))
def test_any_bytes_decode_or_are_refused(body: bytes, kind: int, word: int) -> None:
    """Whatever lies in a slot gives a call or a ValueError, nothing else."""
    found = (word, word, word, word, meta_of(1, kind, len(body) & 0xFF), body, word)
    try:
        call = decode(found, body, CALLEE, MASK, 1)
    except ValueError:
        return
    json.loads(call.params) if not call.truncated else None
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(call))


def test_nesting_without_end_is_refused() -> None:
    """A body nested deeper than anything real is a ValueError."""
    with pytest.raises(ValueError, match="nested"):
        parse_body(meta_of(1), b"\x91" * 100_000)


@given(st.binary(max_size=BODY_BYTES), st.integers(0, SLOT_BYTES - 1), st.integers(0, 7))
def test_checksum_notices_every_flipped_bit(body: bytes, at: int, bit: int) -> None:
    """A sealed slot is intact exactly as it was stored."""
    words = (11, 12, 13, 14)
    meta = seal(words, meta_of(3, 0, len(body)), body)
    raw = bytearray(SLOT.pack(*words, meta, body, 256))
    assert is_intact(SLOT.unpack(raw))
    used = 40 + len(body)
    raw[at] ^= 1 << bit
    if at < used:
        assert not is_intact(SLOT.unpack(raw))
