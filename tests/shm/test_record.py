"""One call's bytes: what goes into a slot comes out, masked, bounded, and never believed."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.config.options import Options
from shmperf.shm.mask import Mask
from shmperf.shm.record import (
    BODY_BYTES,
    DETAIL,
    FORCED,
    LENGTH_MASK,
    NAMED,
    PRUNED,
    SAMPLE_BITS,
    SLOT,
    SLOT_BYTES,
    UNTIMED,
    Callee,
    Outcome,
    Slot,
    bare,
    callee_of,
    decode,
    is_intact,
    kind_of,
    meta_of,
    parse_body,
    seal,
    status_of,
)

CALLEE = Callee("search", ("query", "top"), "more")
MASK = Mask(Options().capture.secret_keys)
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
    meta = meta_of(0xABCD, Outcome.TIMEOUT | NAMED, 200)
    assert (callee_of(meta), status_of(meta), meta & 0xFF) == (0xABCD, Outcome.TIMEOUT, 200)


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
    call = decode(slot(body, Outcome.ERROR), body, CALLEE, MASK, 9)
    assert (call.status, call.err, call.pid) == (Outcome.ERROR, "ValueError", 9)
    assert json.loads(call.params) == {"query": "q"}


def test_detail_carries_everything() -> None:
    """A detailed body gives memory, CPU, error and masked metadata."""
    body = pack((["q"], 4096, 12.5, "KeyError", "'k'", {"secret": 1, "seen": [2]}))
    call = decode(slot(body, DETAIL | Outcome.ERROR), body, CALLEE, MASK, 1)
    assert call.detail is not None
    assert (call.detail.memory_bytes, call.detail.cpu_percent) == (4096, 12.5)
    assert (call.err, call.detail.error) == ("KeyError", "'k'")
    assert json.loads(call.detail.metadata or "") == {"secret": "***", "seen": [2]}


def test_caught_exception_carries_message_fingerprint_and_place() -> None:
    """In both modes; the fingerprint is bounded, whoever wrote it."""
    body = pack((["q"], "ValueError", "no q", "f" * 99, "tools.search:3"))
    call = decode(slot(body, Outcome.ERROR), body, CALLEE, MASK, 9)
    assert (call.err, call.message, call.where) == ("ValueError", "no q", "tools.search:3")
    assert call.fingerprint == "f" * 16
    body = pack((["q"], 4096, 12.5, "KeyError", "'k'", None, "0123", "tools.search:3"))
    call = decode(slot(body, DETAIL | Outcome.ERROR), body, CALLEE, MASK, 1)
    assert (call.err, call.message, call.fingerprint) == ("KeyError", None, "0123")
    assert call.detail is not None
    assert call.detail.error == "'k'"


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


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.binary(max_size=20),
    st.builds(msgspec.msgpack.Ext, st.integers(-128, 127), st.binary(max_size=12)),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=6),
        st.dictionaries(st.one_of(st.text(), st.integers(-(2**63), 2**64 - 1)), inner),
    ),
    max_leaves=12,
)


def strict_json(text: str) -> object:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


def test_golden_bytes_pin_the_layout() -> None:
    """A record's bytes are these and no others: other processes may run another version."""
    meta = meta_of(0x0102, Outcome.ERROR | NAMED, 3)
    raw = SLOT.pack(0x1122334455667788, 1, 2, 3, meta, b"\x92\xc0\xc0", 0x100)
    assert raw[:48].hex() == (
        "8877665544332211"
        "0100000000000000"
        "0200000000000000"
        "0300000000000000"
        "0309020100000000"
        "92c0c00000000000"
    )
    assert raw[48:].hex() == "00" * 200 + "0001000000000000"
    assert seal((1, 2, 3, 4), meta_of(1, 0, 2), b"ab") >> 40 == 0xA8BEB6


@given(st.booleans(), st.integers(0, 0xFFFF), st.integers(0, 0xFF), st.integers(0, BODY_BYTES))
def test_sample_disturbs_nothing_else(timed: bool, callee: int, kind: int, length: int) -> None:
    """Callee, kind and length are what they are without it; only UNTIMED takes the duration."""
    sample = FORCED | (0 if timed else UNTIMED)
    meta = meta_of(callee, kind, length, sample)
    assert (callee_of(meta), kind_of(meta), meta & LENGTH_MASK) == (callee, kind, length)
    assert meta & SAMPLE_BITS == meta ^ meta_of(callee, kind, length)
    found = (1, 0, 10, 10, bare(meta), b"", 0)
    duration_ns = decode(found, b"", CALLEE, MASK, 1).duration_ns
    assert duration_ns == (0 if timed else None)


@settings(max_examples=300)
@given(VALUES, st.integers(0, 0xFF))
def test_any_value_decodes_or_is_refused(value: object, kind: int) -> None:
    """Well-formed msgpack that no worker writes is a call with strict JSON or a ValueError."""
    body = pack(value)
    try:
        call = decode(slot(body, kind), body, CALLEE, MASK, 1)
    except ValueError:
        return
    if not call.truncated:
        assert isinstance(strict_json(call.params), dict)
    assert pack(call)


@settings(max_examples=200)
@given(st.tuples(*[VALUES] * 6), st.integers(0, 0xFF))
def test_any_six_fields_decode_or_are_refused(fields: tuple[object, ...], kind: int) -> None:
    """A detailed body is believed in none of its fields' types."""
    body = pack(fields)
    try:
        call = decode(slot(body, kind | DETAIL), body, CALLEE, MASK, 1)
    except ValueError:
        return
    assert call.detail is not None
    assert isinstance(strict_json(call.params), dict)
    if call.detail.metadata is not None:
        assert isinstance(strict_json(call.detail.metadata), dict)
    assert pack(call)


@pytest.mark.parametrize("depth", [10, 100, 450, 500, 600, 800, 990, 2_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa1a"], ids=["list", "map"])
@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (b"\x91", b"", 0),
        (b"\x92", b"\xa1E", Outcome.ERROR),
        (b"\x92\xc0", b"", Outcome.ERROR),
        (b"\x96", b"\xc0" * 5, DETAIL),
        (b"\x96\xc0\xc0\xc0\xc0", b"\xc0", DETAIL),
        (b"\x96\xc0\xc0\xc0\xc0\xc0\x81\xa1m", b"", DETAIL),
    ],
    ids=["params", "failed-params", "failed-class", "params-all", "error", "metadata"],
)
def test_nesting_of_any_depth_decodes_or_is_refused(
    depth: int, opening: bytes, before: bytes, after: bytes, kind: int
) -> None:
    """However deep a body is nested, it is a call or a ValueError: it never stops a reader."""
    body = before + opening * depth + b"\xc0" + after
    try:
        decode(slot(body, kind), body, CALLEE, MASK, 1)
    except ValueError:
        assert depth > 100


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ([1], Outcome.ERROR),
        ([1, "E", 3], Outcome.TIMEOUT),
        ([1, "E", "message", "fingerprint"], Outcome.ERROR),
        ([1, "E", "message", "fingerprint", "where", 6], Outcome.ERROR),
        ({"a": 1}, Outcome.ERROR),
        ([1, 2, 3, 4, 5], DETAIL),
        ([1, 2, 3, 4, 5, 6, 7], DETAIL),
        ([1, 2, 3, 4, 5, 6, 7, 8, 9], DETAIL),
        ("six", DETAIL),
    ],
)
def test_bodies_with_a_wrong_number_of_fields_are_refused(value: object, kind: int) -> None:
    """A body whose fields are not those of its kind is a ValueError."""
    body = pack(value)
    with pytest.raises(ValueError, match="body has"):
        parse_body(meta_of(1, kind), body)


@pytest.mark.parametrize(
    "kind", [0, Outcome.ERROR, DETAIL, NAMED, DETAIL | NAMED | Outcome.TIMEOUT]
)
def test_empty_body_is_a_call_without_parameters(kind: int) -> None:
    """Of a call without a body everything but its parameters is known."""
    call = decode(slot(b"", kind), b"", CALLEE, MASK, 1)
    assert (call.params, call.err, call.truncated) == ("{}", None, False)
    assert (call.id, call.parent, call.start_ns, call.duration_ns) == (7, 3, 1_000, 4_000)


def test_unknown_outcomes_and_backward_times_are_bounded() -> None:
    """An outcome that is none, or an end before the start, gives no nonsense."""
    found = (7, 3, 5_000, 1_000, meta_of(1, 0x07), pack([None, "E"]), 256)
    call = decode(found, found[5], CALLEE, MASK, 1)
    assert (call.status, call.duration_ns) == (Outcome.CANCELLED, 0)


@given(
    st.sampled_from(["password", "API_KEY", "my_secret_name", "Authorization", "Set-Cookie"]),
    st.recursive(
        st.just("p4ssw0rd-sentinel"),
        lambda inner: st.one_of(st.lists(inner, min_size=1, max_size=3), st.just({"x": "y"})),
        max_leaves=4,
    ),
    st.lists(st.sampled_from(["list", "map"]), max_size=8),
    st.sampled_from(["summary", "named", "failed", "detail", "metadata"]),
)
def test_no_secret_comes_out_anywhere(key: str, value: object, path: list[str], where: str) -> None:
    """Whatever lies under a secret's key, at any depth and in every form of body, is masked."""
    held: object = {key: value}
    for step in path:
        held = [held] if step == "list" else {"k": held}
    body, kind = {
        "summary": (pack([held]), 0),
        "named": (pack([[1], {"top": held}]), NAMED),
        "failed": (pack([[held], "E"]), Outcome.ERROR),
        "detail": (pack([[held], None, None, None, None, None]), DETAIL),
        "metadata": (pack([None, None, None, None, None, {"m": held}]), DETAIL),
    }[where]
    call = decode(slot(body, kind), body, CALLEE, MASK, 1)
    shown = call.params + ((call.detail.metadata or "") if call.detail else "")
    assert "sentinel" not in shown
    assert '"***"' in shown


@pytest.mark.parametrize(
    "value", [["q", "hunter2"], {"password": "hunter2"}, ["q", "x", "hunter2"]]
)
def test_positional_secrets_are_masked_by_their_names(value: object) -> None:
    """A secret passed by position, or among the rest, is masked like one passed by name."""
    body = pack(value)
    callee = Callee("login", ("user", "password"), "api_keys")
    call = decode(slot(body), body, callee, Mask(["password", "api_key"]), 1)
    assert "hunter2" not in call.params
    assert '"***"' in call.params


def test_no_secret_keys_mask_nothing() -> None:
    """An empty list of secret keys shows everything."""
    body = pack({"password": "x", "": 1})
    call = decode(slot(body), body, CALLEE, Mask([]), 1)
    assert json.loads(call.params) == {"password": "x", "": 1}


def test_characters_of_a_pattern_are_plain_in_secret_keys() -> None:
    """A configured key is a text, not a pattern."""
    body = pack({"a.b": 1, "axb": 2})
    call = decode(slot(body), body, CALLEE, Mask(["a.b"]), 1)
    assert json.loads(call.params) == {"a.b": "***", "axb": 2}


@pytest.mark.parametrize(("length", "cut"), [(199, False), (200, False), (201, True)])
def test_summary_of_exactly_the_limit_is_whole(length: int, cut: bool) -> None:
    """200 characters fit; the 201st makes a summary a cut one."""
    body = pack({"q": "x" * (length - len('{"q":""}'))})
    call = decode(slot(body), body, CALLEE, MASK, 1)
    assert len(call.params) == min(length, 200)
    assert call.truncated == cut


def test_details_are_not_cut() -> None:
    """Optimization mode keeps parameters and metadata whole."""
    body = pack([["x" * 5_000], None, None, None, None, {"m": "y" * 5_000}])
    call = decode(slot(body, DETAIL), body, CALLEE, MASK, 1)
    assert len(call.params) > 5_000
    assert not call.truncated
    assert call.detail is not None
    assert len(call.detail.metadata or "") > 5_000


def test_unsealed_slot_is_not_taken_for_a_sealed_one() -> None:
    """A checksum of nothing fits no record."""
    raw = SLOT.pack(1, 2, 3, 4, meta_of(1, 0, 2), b"ab", 256)
    assert not is_intact(SLOT.unpack(raw))
