"""A block that is recorded as a call."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from .context import hex_id
from .frames import ends_in_order
from .hotpath import take_up
from .opencall import OpenCall, new_call
from .process import named_callee, tool_named

__all__ = ["call"]


class call:  # noqa: N801  used like a function: ``with call("name"):``
    """
    Record a block as a call: ``with call("name", key=value):``, or ``async with``.

    An object is for one block at a time, and those inside it; several threads need one each. In an
    async block the parent and the times are right across awaits.
    """

    __slots__ = ("_around", "_opened", "_params", "_tool")

    def __init__(self, name: str, /, **params: Any) -> None:
        self._tool = tool_named(name)
        self._params = params
        self._opened: OpenCall | None = None
        # Of blocks inside it: those that are still open, the innermost last.
        self._around: list[OpenCall] | None = None

    def __enter__(self) -> Self:
        return self._begin(awaited=False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Struck before this line, the block's end never comes: so it is with context managers.
        opened = self._opened
        if opened is None:
            return
        try:
            opened.close(error)
        except BaseException as struck:
            # An interruption of the end: ended, and passed on.
            if take_up(opened, error, struck):
                raise
        finally:
            if self._around:
                self._opened = self._around.pop()

    async def __aenter__(self) -> Self:
        return self._begin(awaited=True)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.__exit__(kind, error, traceback)

    @property
    def id(self) -> str | None:
        """The call's id while it is recorded, else None."""
        opened = self._opened
        return hex_id(opened.id_inside) if opened is not None and opened.id_inside else None

    def annotate(self, **metadata: Any) -> None:
        """Add to the call's metadata, which optimization mode keeps."""
        if self._opened is not None:
            self._opened.annotate(metadata)

    def _begin(self, *, awaited: bool) -> Self:
        if self._tool.bound is None:
            return self
        opened = new_call(self._tool, named_callee(self._tool))
        before, self._opened = self._opened, opened
        try:
            if before is not None and before.call_id and not before.end_ns:
                self._around = [*(self._around or ()), before]
            # Of who entered the block.
            in_order = ends_in_order(sys._getframe(2), awaited=awaited)
            opened.open((), self._params, timed_cpu=not awaited, in_order=in_order)
            return self
        except BaseException as error:
            # The block is never entered, so nobody else would end it.
            if take_up(opened, error, error):
                raise
            return self
