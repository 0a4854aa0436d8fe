"""
Pydantic AI: a capability around the execution of every tool.

`attach` puts it around the tools of every agent of the process; `capability` makes one for
``Agent(…, capabilities=[…])``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from shmperf.integrations.observer import Observer, Sight

from .patching import imported, replace

__all__ = ["attach", "capability"]

_observer = Observer("pydantic-ai")


def attach() -> Callable[[], None]:
    """Wrap what every agent combines its capabilities into."""
    combined = _imported("CombinedCapability.wrap_tool_execute").CombinedCapability
    original = combined.wrap_tool_execute

    @functools.wraps(original)
    async def wrap_tool_execute(
        self: Any, ctx: Any, *, call: Any, tool_def: Any, args: Any, handler: Any
    ) -> Any:
        sight = _observer.guard(_begin, ctx, call, args)
        given = {"call": call, "tool_def": tool_def, "args": args, "handler": handler}
        return await _observer.watch(sight, _reason, original, self, ctx, **given)

    return replace(combined, "wrap_tool_execute", wrap_tool_execute)


def capability() -> Any:
    """A capability that records the tool calls of the agents it is given to."""
    found = _imported("AbstractCapability.wrap_tool_execute")

    class ShmperfCapability(found.AbstractCapability):  # type: ignore[misc, name-defined]  # a class of the framework, untyped here
        async def wrap_tool_execute(  # the framework's own names
            self,
            ctx: Any,
            *,
            call: Any,
            tool_def: Any,  # noqa: ARG002  the framework's signature
            args: Any,
            handler: Any,
        ) -> Any:
            sight = _observer.guard(_begin, ctx, call, args)
            return await _observer.watch(sight, _reason, handler, args)

    return ShmperfCapability()


def _begin(ctx: Any, call: Any, args: Any) -> Sight:
    sight = _observer.begin(call.tool_name, args, key=id(call))
    agent = getattr(ctx, "agent", None)
    sight.annotate(call_id=call.tool_call_id, agent=getattr(agent, "name", None))
    return sight


def _reason(outcome: Any) -> BaseException | None:
    if not isinstance(outcome, BaseException):
        return None
    # ToolRetryError carries the ModelRetry that the tool has raised.
    wraps = type(outcome).__name__ == "ToolRetryError" and outcome.__cause__ is not None
    return outcome.__cause__ if wraps else outcome


def _imported(name: str) -> Any:
    return imported("pydantic_ai.capabilities", name, package="pydantic-ai-slim", having=">=2.0")
