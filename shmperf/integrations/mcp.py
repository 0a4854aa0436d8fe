"""
The MCP SDK, both sides: a server's middleware, and the client session's ``call_tool``.

Where client and server are of one session, in one process or two, the client sends its call's id
with the request's metadata, and a random word that names the session: the call is counted once, as
the client's, and what the tool calls is beneath it. Other servers ignore the key, as the protocol
wants it. For them, and for clients of other sessions, there is ``traceparent`` beside it: the span
of the client's call, which the server's is beneath in the exports. One that somebody else has put
there is left alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from shmperf.integrations.observer import Observer, Sight, foreign_call, shared_call, taken_up
from shmperf.worker.outgoing import traceparent

from .patching import equip, imported, replace, undo_all

__all__ = ["attach", "failure", "middleware"]

_VERSIONS = ">=2.0"
# JSON-RPC's code for a request that was not answered in time, as the SDK has it.
_REQUEST_TIMEOUT = -32001
_META_KEY = "shmperf/call"
# As MCP has it since 2025: SEP-414, reserved without a prefix.
_TRACEPARENT = "traceparent"
_client = Observer("mcp client", "mcp")
_server = Observer("mcp server", "mcp")


def attach() -> Callable[[], None]:
    """Give every server, also those that exist, the middleware, and wrap the client's call."""
    lowlevel = _imported("mcp.server.lowlevel.server", "Server.get_request_handler")
    session = _imported("mcp.client.session", "ClientSession.call_tool")
    added = middleware()

    def give(server: Any) -> None:
        if not hasattr(server, "middleware"):
            _imported("mcp.server.lowlevel.server", "Server.middleware")
        server.middleware.append(added)

    def take(server: Any) -> None:
        server.middleware[:] = [one for one in server.middleware if one is not added]

    return undo_all(
        equip(lowlevel.Server, give, take),
        replace(session.ClientSession, "call_tool", _tracked(session.ClientSession.call_tool)),
    )


def middleware() -> Any:
    """A middleware for ``MCPServer(…, middleware=[…])`` or a low-level server's list."""
    _imported("mcp.server.context", "ServerMiddleware")

    async def shmperf_middleware(context: Any, call_next: Callable[[Any], Any]) -> Any:
        if getattr(context, "method", None) != "tools/call":
            return await call_next(context)
        sight = _server.guard(_begin_serving, context)
        return await _server.watch(sight, failure, call_next, context)

    return shmperf_middleware


def failure(outcome: Any) -> BaseException | str | None:
    """The error that an answer or an exception stands for: MCP's failures are answers."""
    if isinstance(outcome, BaseException):
        code = getattr(getattr(outcome, "error", None), "code", None)
        return f"TimeoutError: {outcome}" if code == _REQUEST_TIMEOUT else outcome
    if isinstance(outcome, dict):
        failed, content = outcome.get("isError"), outcome.get("content")
    else:
        failed, content = getattr(outcome, "is_error", False), getattr(outcome, "content", None)
    if not failed:
        return None
    texts = [_text(part) for part in content or ()]
    return f"ToolError: {' '.join(text for text in texts if text)}"


def _text(part: Any) -> str:
    found = part.get("text") if isinstance(part, dict) else getattr(part, "text", "")
    return found if isinstance(found, str) else ""


def _begin_serving(context: Any) -> Sight:
    params = context.params or {}
    tool = params["name"]
    meta = params.get("_meta") or {}
    known = foreign_call(meta.get(_META_KEY))
    if known:
        return _server.join(known, tool, _client.name)
    key = (id(context.session), context.request_id)
    parent = taken_up(meta.get(_TRACEPARENT))
    sight = _server.begin(tool, params.get("arguments") or {}, parent=parent, key=key)
    sight.annotate(call_id=str(context.request_id))
    return sight


def _tracked(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def call_tool(
        self: Any, name: str, arguments: dict[str, Any] | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        sight = _client.guard(_begin_asking, self, name, arguments)
        if sight is not None:
            kwargs["meta"] = _client.guard(_handed_on, sight, kwargs.get("meta"))
        return await _client.watch(sight, failure, original, self, name, arguments, *args, **kwargs)

    return call_tool


def _handed_on(sight: Sight, meta: Any) -> Any:
    """*meta* with what says whose call it is; as it is, where there is nothing to say."""
    ours = {_TRACEPARENT: traceparent()}
    known = shared_call(sight.id)
    theirs = {} if known is None else {_META_KEY: known}
    found = {key: value for key, value in ours.items() if value is not None}
    return {**found, **(meta or {}), **theirs} or meta


def _begin_asking(session: Any, name: str, arguments: dict[str, Any] | None) -> Sight:
    sight = _client.begin(name, arguments or {})
    server = getattr(getattr(session, "initialize_result", None), "server_info", None)
    server = server or getattr(session, "server_info", None)
    sight.annotate(server=getattr(server, "name", None))
    return sight


def _imported(module: str, *names: str) -> Any:
    return imported(module, *names, package="mcp", having=_VERSIONS)
