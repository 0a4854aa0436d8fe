"""A block that is recorded as a call."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from shmperf.compiled.chosen import hot

from .context import hex_id
from .frames import ends_in_order
from .hotpath import is_vain
from .opencall import OpenCall, new_call
from .process import named_callee, tool_named, tools
from .quickcall import QuickCall

__all__ = ["call"]


class call(QuickCall):  # noqa: N801  used like a function: ``with call("name"):``
    """
    Record a block as a call: ``with call("name", key=value):``, or ``async with``.

    An object is for one block at a time, and those inside it; several threads need one each. In an
    async block the parent and the times are right across awaits.
    """

    __slots__ = ()

    # Of blocks inside it: those that are still open, the innermost last.
    _around: list[OpenCall] | None

    def __init__(self, name: str, /, **params: Any) -> None:
        # What `tool_named` does for a name that is known, without the call of it.
        try:
            known = tools[name] if type(name) is str else None
        except (KeyError, MemoryError):
            known = None
        tool = self._tool = known or tool_named(name)
        self._callee, self._args, self._kwargs = tool.named, (), params
        self._row = self._call_id = 0
        self._opened = self._around = None

    __enter__ = QuickCall._enter
    __exit__ = QuickCall._exit

    async def __aenter__(self) -> Self:
        if self._tool.bound is None:
            return self
        if ends_in_order(sys._getframe(1), awaited=True):
            self._enter(in_order=True)
        else:
            self._enter_anyhow(in_order=False)
        self._cpu_ns = -1
        if self._opened is not None:
            self._opened.forget_cpu()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exit(kind, error, traceback)

    @property
    def id(self) -> str | None:
        """The call's id while it is recorded, else None."""
        opened = self._opened
        call_id = self._call_id if opened is None else opened.id_inside
        return hex_id(call_id) if call_id else None

    def annotate(self, **metadata: Any) -> None:
        """Add to the call's metadata, which optimization mode keeps."""
        self._note(metadata)

    def _enter_anyhow(self, *, in_order: bool) -> Self:
        if self._row or self._opened is not None:
            before = self._call()
            if before.call_id and not before.end_ns:
                self._around = [*(self._around or ()), before]
            elif before.end_ns and in_order:
                # The object's last block is over: this one may go the quick way.
                self._opened = None
                return self._enter(in_order=True)
        opened = new_call(self._tool, self._callee or named_callee(self._tool))
        self._opened = opened
        try:
            opened.open((), self._kwargs, in_order=in_order)
        except BaseException as error:
            # The block is never entered, so nobody else would end it.
            if is_vain(opened, error):
                raise
        return self

    def _exit_anyhow(self, error: BaseException | str | None) -> None:
        try:
            super()._exit_anyhow(error)
        finally:
            if self._around:
                self._opened = self._around.pop()


if hot is not None:
    hot.adopt_blocks(call.__init__)
    # It turns to the one above for what is rare.
    setattr(call, "__init__", hot.Steps.__init__)  # noqa: B010  a type checker knows the other
