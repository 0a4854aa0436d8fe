"""
FastMCP servers: a middleware that sees every tool call.

A request whose ``_meta`` has a ``traceparent`` is in that trace, where no call of ours leads to it.

`attach` gives it to every server of the process, also to those that exist; `middleware` makes one
for ``FastMCP(…, middleware=[…])`` or ``server.add_middleware(…)``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from shmperf.integrations.observer import Observer, Sight, taken_up
from shmperf.worker.context import current

from .patching import equip, imported

__all__ = ["attach", "middleware"]

_VERSIONS = ">=2.9"
_observer = Observer("fastmcp")
# The call that a server of this context handles: tool, server and id.
_handled: ContextVar[tuple[str, int, str | None]] = ContextVar("shmperf_fastmcp")


def attach() -> Callable[[], None]:
    """Give every server the middleware, as its outermost."""
    server = imported(
        "fastmcp", "FastMCP.add_middleware", package="fastmcp", having=_VERSIONS
    ).FastMCP
    added = middleware()

    def give(server: Any) -> None:
        server.middleware.insert(0, added)

    def take(server: Any) -> None:
        server.middleware[:] = [one for one in server.middleware if one is not added]

    return equip(server, give, take)


def middleware() -> Any:
    """A FastMCP middleware that records tool calls."""
    found = imported(
        "fastmcp.server.middleware",
        "Middleware.on_call_tool",
        package="fastmcp",
        having=_VERSIONS,
    )

    class ShmperfMiddleware(found.Middleware):  # type: ignore[misc, name-defined]  # a class of the framework, untyped here
        async def on_call_tool(self, context: Any, call_next: Callable[[Any], Any]) -> Any:
            sight = _observer.guard(_begin, context)
            return await _observer.watch(sight, _reason, call_next, context)

    return ShmperfMiddleware()


def _begin(context: Any) -> Sight:
    message = context.message
    request = getattr(context, "fastmcp_context", None)
    server = getattr(request, "fastmcp", None)
    known = _passed_on(message.name, server)
    if known:
        return _observer.join(known, message.name)
    parent = taken_up(_traceparent(request))
    sight = _observer.begin(message.name, message.arguments or {}, parent=parent, key=id(message))
    sight.annotate(server=getattr(server, "name", None), call_id=_request_id(request))
    _handled.set((message.name, id(server), sight.id))
    return sight


def _passed_on(name: str, server: Any) -> str | None:
    """The id of the call that another server passes on to *server*, which is mounted there."""
    tool, handler, call_id = _handled.get(("", 0, None))
    if handler == id(server) or call_id is None or call_id != current():
        return None
    # Mounted under a namespace, the tool's name there ends with its name here.
    return call_id if tool == name or tool.endswith(f"_{name}") else None


def _request_id(request: Any) -> str | None:
    try:
        return str(request.request_id)
    except (AttributeError, RuntimeError, ValueError):
        return None  # called in the program, without a request


def _traceparent(request: Any) -> object:
    """What the request says of its caller's span; the metadata is a mapping, or a model of one."""
    try:
        meta = request.request_context.meta
    except (AttributeError, RuntimeError, ValueError):
        return None
    if isinstance(meta, Mapping):
        return meta.get("traceparent")
    return getattr(meta, "traceparent", None)


def _reason(outcome: Any) -> BaseException | str | None:
    if isinstance(outcome, BaseException):
        # ToolError stands around what the tool has raised.
        wraps = type(outcome).__name__ == "ToolError" and outcome.__cause__ is not None
        return outcome.__cause__ if wraps else outcome
    if getattr(outcome, "is_error", False):
        texts = [getattr(part, "text", "") for part in outcome.content]
        return f"ToolError: {' '.join(texts)}"
    return None
