"""One call's way through the chain of interceptors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from shmperf.worker.context import Seen, current_call, parent_of
from shmperf.worker.gcwatch import is_collecting
from shmperf.worker.opencall import OpenCall, new_call
from shmperf.worker.process import Tool
from shmperf.worker.quickcall import QuickCall

__all__ = ["Passage"]


class Passage(QuickCall):
    """
    What is called, when, and the call as it is recorded, for those interceptors who want it.

    ``start_ns`` only where none of them takes the time; ``is_elsewhere`` when a framework's hook
    records the call; ``is_timed`` when it is begun and ended in one thread.
    """

    __slots__ = ("args", "end_ns", "function", "is_elsewhere", "is_timed", "kwargs", "start_ns")

    def __init__(
        self,
        function: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        is_timed: bool = False,
    ) -> None:
        self.function, self.is_timed, self.is_elsewhere = function, is_timed, False
        # By names of their own for other interceptors, who ask at every call: no property.
        self.args = self._args = args
        self.kwargs = self._kwargs = kwargs
        self._row = self._call_id = self._end_ns = self.start_ns = self.end_ns = 0
        self._opened = None

    def begin(self, tool: Tool, callee: int) -> None:
        """Begin the call and make it current, if it is recorded."""
        self._tool, self._callee = tool, callee
        self._enter(in_order=True)
        if not self.is_timed:
            self._cpu_ns = -1

    def end(self, error: BaseException | None = None) -> None:
        """End the call, if it is recorded, and restore the context; as often as one likes."""
        opened = self._opened
        if opened is not None and opened.end_ns:
            # One that has been stored was interrupted later: that is not its error.
            error = None
        self._exit(None, error, None)
        self.end_ns = self._end_ns if self._opened is None else self._opened.end_ns

    def expect_again(self) -> None:
        """Let the decorator of the function that is called now know its call by this one."""
        call_id = self._call_id if self._opened is None else self._opened.call_id
        if call_id and not is_collecting():
            current_call.set(Seen(call_id, parent_of(call_id), self._tool.name, "chain"))

    def call(self) -> OpenCall | None:
        """The call step by step, whichever way it began; None when it is not recorded."""
        return self._call() if self._opened or self._call_id else None

    def _enter_anyhow(self, *, in_order: bool) -> Self:
        opened = self._opened = new_call(self._tool, self._callee)
        opened.open(self._args, self._kwargs, timed_cpu=self.is_timed, in_order=in_order)
        return self
