"""
From a drained slot to its call: the body wherever it lies, decoded, secrets masked.

A body that can't be read leaves its call without parameters; its times and its outcome stay.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from shmperf.config.options import Options
from shmperf.errors import ShmperfError
from shmperf.shm.board import Shown
from shmperf.shm.mask import Mask
from shmperf.shm.memory import read_blob
from shmperf.shm.record import (
    DETAIL,
    NAMED,
    PRUNED,
    Call,
    Callee,
    Detail,
    Outcome,
    Slot,
    bare,
    callee_of,
    decode,
    has_block,
    kind_bits,
    meta_of,
    status_of,
)

from .drain import WorkerDrain, long_body

__all__ = ["Bodies", "Template", "blob_name", "whole_body"]

# Of a line of a name table: the tool, the pid, and what stands before each parameter in JSON.
Template = tuple[str, int, tuple[bytes, ...] | None]
_MOST_HEADS = 4_096

_MOST_BLOB_BYTES = 1 << 30
_DETAIL = kind_bits(DETAIL)


class Bodies:
    """Decodes what is kept; the collector's thread."""

    def __init__(self, options: Options, fault: Callable[[str, str, int], None]) -> None:
        """*fault* counts and tells what can't be read."""
        self._fault = fault
        # What cuts parameters of calls in detail, which began then, where nobody asked for them.
        self.protect: Callable[[Call, int], object] = lambda _, __: None
        self.configure(options)

    def configure(self, options: Options) -> None:
        """Take up *options*."""
        self.mask = Mask(options.capture.secret_keys, options.capture.secret_words)
        self.needles = self.mask.needles()
        self._heads: dict[tuple[str, ...], tuple[bytes, ...] | None] = {}

    def call_in(self, slot: Slot, worker: WorkerDrain, *, quietly: bool = False) -> Call:
        """
        The call in *slot*, its times monotonic; without parameters when they are damaged.

        That is counted, but *quietly*: by who decodes the same slot besides.
        """
        number = callee_of(slot[4])
        callee = worker.callees.get(number) or worker.callee(number)
        try:
            call = decode(slot, whole_body(slot, worker), callee, self.mask, worker.pid)
            if call.detail is not None:
                self.protect(call, slot[2])
            return call
        except (ValueError, TypeError, ShmperfError) as error:
            if not quietly:
                self._fault("body_damaged", f"{worker.name}: {error}", 1)
            return self._without_body(slot, callee, worker.pid)

    def template_of(self, worker: WorkerDrain, number: int) -> Template:
        """
        What simple calls of that line of *worker*'s name table have in common.

        None for the parameters where they have to be named one by one: some are hidden.
        """
        callee = worker.callees.get(number) or worker.callee(number)
        names = callee.names
        if names not in self._heads:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            is_plain = self.mask.hides_none_of(names) and len(set(names)) == len(names)
            self._heads[names] = _heads_of(names) if is_plain else None
        return callee.tool, worker.pid, self._heads[names]

    def params_of(self, shown: Shown, callee: Callee) -> str | None:
        """The parameters of an open call, as its record will have them; None when damaged."""
        meta = meta_of(0, shown.kind & (NAMED | PRUNED), len(shown.body))
        slot = (0, 0, 0, 0, meta, shown.body, 0)
        try:
            return decode(slot, shown.body, callee, self.mask, 0).params
        except (ValueError, TypeError):
            return None

    def _without_body(self, slot: Slot, callee: Callee, pid: int) -> Call:
        status = status_of(slot[4])
        call = decode((*slot[:4], bare(slot[4]), b"", 0), b"", callee, self.mask, pid)
        call.status = min(status, Outcome.CANCELLED)
        if slot[4] & _DETAIL:
            call.detail = Detail()
        return call


def _heads_of(names: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(
        (b"," if number else b"{") + msgspec.json.encode(name) + b":"
        for number, name in enumerate(names)
    )


def whole_body(slot: Slot, worker: WorkerDrain) -> bytes:
    """The body of *slot*, from memory of its own where it lies there; raises ShmperfError."""
    body = long_body(slot)
    if not has_block(slot[4]):
        return body
    name, size = msgspec.msgpack.decode(body, type=tuple[str, int])
    return read_blob(name, worker.name, _MOST_BLOB_BYTES, worker.fallback)[:size]


def blob_name(slot: Slot) -> str:
    """The name of the memory that holds the body of *slot*; empty without one."""
    if not has_block(slot[4]):
        return ""
    try:
        name, _ = msgspec.msgpack.decode(long_body(slot), type=tuple[str, int])
    except (msgspec.MsgspecError, ValueError):
        return ""
    return name
