"""The interceptor that records calls: start and parent before the tool, the end after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any

from shmperf.shm.record import Callee
from shmperf.worker.failures import is_programs
from shmperf.worker.hotpath import is_seen
from shmperf.worker.process import Tool, named_callee, tool_named, worker
from shmperf.worker.signature import positional_names
from shmperf.worker.wrappers import tracked_name

from .chain import PASSAGE, Context, InterceptorPriority, ToolInterceptor
from .passage import Passage

__all__ = ["OptimizedPerfTrackerInterceptor"]

_MOST_NAMES = 10_000


class OptimizedPerfTrackerInterceptor(ToolInterceptor):
    """
    Records every call: start and parent before it, the end after it.

    Off when OPTIMIZED_PERF_TRACKER_ENABLED is false. A call that is not recorded (tracking off,
    limit 0) costs next to nothing. A framework's hook or a decorator of the same name sees the same
    call, and it is counted once.
    """

    wants_call = takes_time = True

    def __init__(self) -> None:
        super().__init__(InterceptorPriority.HIGH)
        self.enabled = worker.is_wanted
        self._tools: dict[str, tuple[Tool, int]] = {}
        self._callees: dict[tuple[str, Any, bool], int] = {}

    def before_execution(
        self, tool_name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Context
    ) -> Context:
        """Begin the call."""
        known = self._tools.get(tool_name)
        tool, callee = known or self._known(tool_name)
        if tool.bound is not None:
            passage = context.get(PASSAGE)
            if passage is None or passage.args is not args:
                passage = context[PASSAGE] = Passage(None, args, kwargs)
            if is_seen(tool, "chain"):
                passage.is_elsewhere = True
                return context
            if args:
                callee = self._callee(tool, passage.function)
            passage.begin(tool, callee)
            if tracked_name(passage.function) == tool.name:
                passage.expect_again()
        return context

    def after_execution(self, tool_name: str, result: Any, context: Context) -> Any:  # noqa: ARG002  the protocol's signature
        """End the call."""
        passage = context.get(PASSAGE)
        if passage is not None:
            try:
                passage.end()
            except BaseException as struck:
                # Struck in the middle: taken up where it was, then passed on.
                passage.end()
                if is_programs(struck):
                    raise
        return result

    def on_exception(
        self,
        tool_name: str,  # noqa: ARG002  the protocol's signature
        exception: BaseException,
        context: Context,
    ) -> bool:
        """End the call with its exception."""
        passage = context.get(PASSAGE)
        if passage is not None:
            try:
                passage.end(exception)
            except BaseException as struck:
                # An interruption of the end: ended, and passed on.
                passage.end(exception)
                if is_programs(struck):
                    raise
        return False

    def _known(self, tool_name: str) -> tuple[Tool, int]:
        tool = tool_named(tool_name)
        found = tool, named_callee(tool)
        if len(self._tools) < _MOST_NAMES:
            self._tools[tool_name] = found
        return found

    def _callee(self, tool: Tool, function: Callable[..., Any] | None) -> int:
        """The line of the name table that names the tool's positional parameters."""
        code = getattr(function, "__code__", None)
        if function is None or code is None:
            return named_callee(tool)
        key = tool.name, code, type(function) is MethodType
        number = self._callees.get(key)
        if number is None:
            names, rest, skipped = positional_names(function)
            # A bare function whose first parameter is self gets it as an argument like any other.
            names = ("self", *names) if skipped else names
            number = worker.callee(tool, Callee(tool.name, names, rest))
            if len(self._callees) < _MOST_NAMES:
                self._callees[key] = number
        return number
