"""
One call's bytes: the picture of a slot, what a worker puts into it, and what a reader gets out.

    word  0        1        2          3         4        5 … 30          31
        ┌────────┬────────┬──────────┬─────────┬────────┬───────────────┬──────────┐
        │ id     │ parent │ start_ns │ end_ns  │ meta   │ body          │ position │
        └────────┴────────┴──────────┴─────────┴────────┴───────────────┴──────────┘
    meta, from the low end:  length of the body (8) · kind (8) · callee (16) · sample (8) · CRC (24)

The sample says how a call came to be recorded: FORCED that it is recorded although it was not
chosen, since it failed or was slow; UNTIMED that nobody knows how long it took, and its times are
when that was noted. Of a chosen call, as of every call of a tool that is not sampled, it is 0: how
many it stands for the worker's counters say, exactly. A slot whose status is BESIDE and that has no
times is no call: it holds what belongs to the call of that id and is written once, before the
call's own. Nothing writes one yet; a reader passes over what it does not know, by count.

The parent is a call's id, or that of a context from elsewhere (see `remote`).

The position is the commit word: it is stored last, and a reader that does not find exactly the
position it expects has no record yet. The five words before the body are plain, so that a reader
unpacks a whole range of slots in one C loop and looks at no body that it does not keep; the body
is msgpack, and holds only what a call's parameters and outcome need:

    status   DETAIL   body
    OK       no       parameters, or nothing when there are none
    other    no       [parameters, class of the error] and, of a caught one, further
                      [message, fingerprint, where]
    any      yes      [parameters, memory_bytes, cpu_percent, error class, error text, metadata]
                      and, of a caught one, further [fingerprint, where]

Parameters are an array of positional values, whose names the *callee* (a line of the segment's
name table) knows; a map from name to value; or, with NAMED, [array, map].

A body longer than a slot's is cut into parts (PARTS): the later parts are stored first, each with
its number in the place of the parent and no times; the slot that holds the first part also holds
the call's own words, is stored last, and its body opens with the number of parts. A body too long
for that lies in shared memory of its own, which the slot's body names (BLOCK).

Why not one msgpack array for everything: measured, the five words cost 30 ns less to store as
words, and the reader would have to decode every record to learn when it ended.
"""

from __future__ import annotations

from binascii import crc32
from collections.abc import Mapping
from struct import Struct
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

if TYPE_CHECKING:
    # Its patterns cost a worker's import more than all of this module, and no worker masks.
    from .mask import Mask

__all__ = [
    "BESIDE",
    "BLOCK",
    "BODY_BYTES",
    "DETAIL",
    "FAILURES",
    "FINGERPRINT_CHARACTERS",
    "FORCED",
    "LENGTH_MASK",
    "NAMED",
    "OUTCOMES",
    "PARTS",
    "PRUNED",
    "SAMPLE_BITS",
    "SLOT",
    "SLOT_BYTES",
    "STATUS_BITS",
    "SUMMARY_CHARACTERS",
    "UNTIMED",
    "UNTIMED_BIT",
    "Body",
    "Call",
    "Callee",
    "Detail",
    "Outcome",
    "Slot",
    "bare",
    "callee_of",
    "decode",
    "has_block",
    "is_intact",
    "kind_bits",
    "meta_of",
    "parse_body",
    "seal",
    "status_of",
]

SLOT = Struct("@QQQQQ208sQ")
SLOT_BYTES = SLOT.size
BODY_BYTES = 208
SUMMARY_CHARACTERS = 200
FINGERPRINT_CHARACTERS = 16

LENGTH_MASK = 0xFF
_KIND_SHIFT = 8
_CALLEE_SHIFT = 16
_SAMPLE_SHIFT = 32
_CRC_SHIFT = 40
_BELOW_CRC = (1 << _CRC_SHIFT) - 1
_CRC_MASK = 0xFFFFFF
_STATUS_MASK = 0x07
# Of a whole batch at once: the bits of the status as they stand in a meta word.
STATUS_BITS = _STATUS_MASK << _KIND_SHIFT
NAMED, PRUNED, DETAIL, PARTS, BLOCK = 0x08, 0x10, 0x20, 0x40, 0x80

# In the sample's byte: recorded because of how it ended; times that are none.
FORCED, UNTIMED = 0x80, 0x40
# The same as they stand in a meta word.
SAMPLE_BITS = 0xFF << _SAMPLE_SHIFT
UNTIMED_BIT = UNTIMED << _SAMPLE_SHIFT
# A status that no call has.
BESIDE = 7

_FIVE_WORDS = Struct("<QQQQQ")


class Outcome:
    """How a call ended. No worker stores ABORTED: a reader says it of the dead."""

    OK = 0
    ERROR = 1
    TIMEOUT = 2
    CANCELLED = 3
    ABORTED = 4


# By their numbers.
OUTCOMES = tuple(name.lower() for name in vars(Outcome) if name.isupper())


# id, parent, start_ns, end_ns, meta, body (padded), position: what `SLOT` unpacks.
Slot: TypeAlias = tuple[int, int, int, int, int, bytes, int]


class Callee(msgspec.Struct, array_like=True, frozen=True):
    """A line of the name table: a tool and how one of its functions names its parameters."""

    tool: str
    names: tuple[str, ...] = ()
    rest: str | None = None


class Detail(msgspec.Struct, array_like=True, gc=False):
    """
    What optimization mode adds to a call.

    Where nobody has asked for parameters, ``is_summary`` says that those of the call are cut as in
    normal mode, and ``params_hash`` tells calls with equal ones (see `optimization`).
    """

    memory_bytes: int | None = None
    cpu_percent: float | None = None
    error: str | None = None
    metadata: str | None = None
    children: list[int] = []
    totals: dict[str, tuple[int, int]] = {}
    self_ns: int | None = None
    params_hash: str | None = None
    is_summary: bool = False


class Call(msgspec.Struct, array_like=True, gc=False):
    """
    A finished or aborted call, as everything right of the segment knows it.

    ``start_ns`` is wall time (Unix, nanoseconds). ``params`` is JSON text with secrets masked: in
    normal mode a summary already cut, in optimization mode (``detail`` is there) all of it unless
    ``detail`` says otherwise, and ``{}`` where it is unknown. ``duration_ns`` is None for an
    aborted call, and for one that nobody timed: its start is when it was noted. ``message``,
    ``fingerprint`` and ``where`` are of a caught exception (see `errorgroups`). ``trace`` is the id
    of the root above the call, 0 where that is the call itself, or can't be known. ``remote`` is
    the trace of somebody else's that this root belongs to, 32 hexadecimal digits, and of the root
    itself, behind a dash, its parent there: 16.
    """

    tool: str
    id: int
    pid: int
    parent: int
    start_ns: int
    duration_ns: int | None
    status: int
    params: str
    truncated: bool = False
    err: str | None = None
    detail: Detail | None = None
    message: str | None = None
    fingerprint: str | None = None
    where: str | None = None
    trace: int = 0
    remote: str = ""

    @property
    def end_ns(self) -> int:
        """Wall time at which the call ended; of an aborted one, when it began."""
        return self.start_ns + (self.duration_ns or 0)


# --- what a worker needs -------------------------------------------------------------------------


def meta_of(callee: int, kind: int = Outcome.OK, length: int = 0, sample: int = 0) -> int:
    """The meta word of a record: *callee* is a line of the name table, *kind* status and flags."""
    return sample << _SAMPLE_SHIFT | callee << _CALLEE_SHIFT | kind << _KIND_SHIFT | length


def seal(words: tuple[int, int, int, int], meta: int, body: bytes) -> int:
    """
    *meta* with a checksum over *words* (id, parent, start, end), itself and *body*.

    The low 24 bits of a CRC-32: what it is to find is a slot that is not whole yet, for some
    nanoseconds, on machines that show stores out of order.
    """
    check = crc32(body, crc32(_FIVE_WORDS.pack(*words, meta & _BELOW_CRC)))
    return meta | (check & _CRC_MASK) << _CRC_SHIFT


# --- what a reader needs -------------------------------------------------------------------------


def is_intact(slot: Slot) -> bool:
    """True when the checksum of a sealed slot fits: otherwise it is not visible yet."""
    call_id, parent, start_ns, end_ns, meta, body, _ = slot
    words = (call_id, parent, start_ns, end_ns)
    return seal(words, meta & _BELOW_CRC, body[: meta & LENGTH_MASK]) == meta


def status_of(meta: int) -> int:
    """The Outcome in a meta word."""
    return meta >> _KIND_SHIFT & _STATUS_MASK


def kind_bits(kind: int) -> int:
    """Outcome or flags as they stand in a meta word; for masks over many of them."""
    return kind << _KIND_SHIFT


# As they stand in a meta word: the outcomes that count as errors.
FAILURES = frozenset({kind_bits(Outcome.ERROR), kind_bits(Outcome.TIMEOUT)})


def bare(meta: int) -> int:
    """A meta word without body, and without what says how to read one: callee and weight alone."""
    return meta & ~(LENGTH_MASK | STATUS_BITS | (BLOCK | DETAIL) << _KIND_SHIFT)


def has_block(meta: int) -> bool:
    """True when the body lies in memory of its own."""
    return bool(meta & BLOCK << _KIND_SHIFT)


def kind_of(meta: int) -> int:
    """Outcome and flags of a meta word."""
    return meta >> _KIND_SHIFT & 0xFF


def callee_of(meta: int) -> int:
    """The line of the name table that a meta word names."""
    return meta >> _CALLEE_SHIFT & 0xFFFF


class Body(msgspec.Struct, frozen=True):
    """A body taken apart; every field may be missing."""

    params: Any = None
    memory_bytes: int | None = None
    cpu_percent: float | None = None
    err: str | None = None
    error: str | None = None
    metadata: Any = None
    fingerprint: str | None = None
    where: str | None = None


_SPECIAL = 0xFF << _KIND_SHIFT | UNTIMED_BIT
_unpack = msgspec.msgpack.Decoder().decode
_CONTAINERS = frozenset({dict, list})
_to_json = msgspec.json.Encoder(enc_hook=repr).encode


def parse_body(meta: int, body: bytes) -> Body:
    """
    Take a record's body apart.

    Raises ValueError (msgspec's DecodeError among them) when it is none that a worker writes.
    """
    if not body:
        return Body()
    try:
        value = _unpack(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if kind_of(meta) & DETAIL:
        return _parse_detail(value)
    if status_of(meta) == Outcome.OK:
        return Body(value)
    if not isinstance(value, list) or len(value) not in (2, 5):
        raise ValueError("a failed call's body has two or five fields")
    if len(value) == 2:
        return Body(value[0], err=str(value[1]))
    params, err, message, fingerprint, where = value
    return Body(
        params,
        err=str(err),
        error=str(message),
        fingerprint=_fingerprint(fingerprint),
        where=str(where),
    )


def _parse_detail(value: Any) -> Body:
    if not isinstance(value, list) or len(value) not in (6, 8):
        raise ValueError("a detailed body has six or eight fields")
    params, memory, cpu, err, error, metadata = value[:6]
    fingerprint, where = value[6:] or (None, None)
    return Body(
        params,
        memory if isinstance(memory, int) else None,
        cpu if isinstance(cpu, float) else None,
        None if err is None else str(err),
        None if error is None else str(error),
        metadata,
        _fingerprint(fingerprint),
        None if where is None else str(where),
    )


def _fingerprint(value: Any) -> str | None:
    return None if value is None else str(value)[:FINGERPRINT_CHARACTERS]


def decode(slot: Slot, body: bytes, callee: Callee, mask: Mask, pid: int) -> Call:
    """
    The call that a slot and its whole *body* stand for, secrets masked, times still monotonic.

    Raises ValueError when the body is damaged. *slot* and *body* come from another process and
    are believed in nothing but their bounds.
    """
    call_id, parent, start_ns, end_ns, meta, _, _ = slot
    try:
        if not meta & _SPECIAL:
            # Finished well, in normal mode, and timed: most calls, at half the cost of the others.
            if not body:
                took_ns = end_ns - start_ns if end_ns > start_ns else 0
                return Call(
                    callee.tool, call_id, pid, parent, start_ns, took_ns, Outcome.OK, "{}", False
                )
            params, names = _unpack(body), callee.names
            if (
                type(params) is list
                and len(params) <= len(names)
                and mask.hides_none_of(names)
                and _CONTAINERS.isdisjoint(map(type, params))
            ):
                shown = dict(zip(names, params, strict=False))
                if mask.suspects(body):
                    shown = mask.masked(shown)
            else:
                shown = mask.masked(name_params(params, callee), in_texts=mask.suspects(body))
            text = _to_json(shown).decode()
            cut = len(text) > SUMMARY_CHARACTERS
            return Call(
                callee.tool,
                call_id,
                pid,
                parent,
                start_ns,
                end_ns - start_ns if end_ns > start_ns else 0,
                Outcome.OK,
                text[:SUMMARY_CHARACTERS] if cut else text,
                cut,
            )
        return _decode_any(slot, body, callee, mask, pid)
    except RecursionError:
        # C and Python count nesting differently: what unpacks may still be too deep to mask.
        raise ValueError("nested too deeply") from None


def _decode_any(slot: Slot, body: bytes, callee: Callee, mask: Mask, pid: int) -> Call:
    call_id, parent, start_ns, end_ns, meta, _, _ = slot
    kind = kind_of(meta)
    parsed = parse_body(meta, body)
    cut = bool(kind & PRUNED)
    suspects = cut or mask.suspects(body)
    named = name_params(parsed.params, callee, named=bool(kind & NAMED))
    text = json_text(mask.masked(named, in_texts=suspects, is_cut=cut))
    err, error = parsed.err, parsed.error
    if suspects:
        # Whoever told of the error may have cut its text.
        err, error = (told and mask.text(told, is_cut=True) for told in (err, error))
    detail = None
    if kind & DETAIL:
        metadata = parsed.metadata
        detail = Detail(
            memory_bytes=parsed.memory_bytes,
            cpu_percent=parsed.cpu_percent,
            error=error,
            metadata=_metadata_text(metadata, mask, suspects),
        )
    elif len(text) > SUMMARY_CHARACTERS:
        text, cut = text[:SUMMARY_CHARACTERS], True
    return Call(
        tool=callee.tool,
        id=call_id,
        pid=pid,
        parent=parent,
        start_ns=start_ns,
        duration_ns=None if meta & UNTIMED_BIT else max(0, end_ns - start_ns),
        status=min(status_of(meta), Outcome.CANCELLED),
        params=text,
        truncated=cut,
        err=err,
        detail=detail,
        message=None if detail is not None else error,
        fingerprint=parsed.fingerprint,
        where=parsed.where,
    )


def _metadata_text(metadata: Any, mask: Mask, suspects: bool) -> str | None:
    if not isinstance(metadata, dict):
        return None
    return json_text(mask.masked(metadata, in_texts=suspects))


def name_params(params: Any, callee: Callee, *, named: bool = False) -> dict[str, Any]:
    """Parameters under the names that the function gives them."""
    if params is None:
        return {}
    keywords: Mapping[Any, Any] = {}
    if named and isinstance(params, list) and len(params) == 2:
        params, keywords = params[0], params[1] if isinstance(params[1], dict) else {}
    if isinstance(params, dict):
        return {str(key): value for key, value in params.items()}
    if not isinstance(params, list):
        return {"value": params}
    bound = dict(zip(callee.names, params, strict=False))
    extra = params[len(callee.names) :]
    if extra:
        bound[callee.rest or "args"] = extra
    bound.update((str(key), value) for key, value in keywords.items())
    return bound


def json_text(value: Any) -> str:
    """*value* as one line of strict JSON: no NaN, no infinities."""
    return _to_json(value).decode()
