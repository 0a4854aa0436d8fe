"""
ASGI: each HTTP request is a call, in the trace that its ``traceparent`` names.

    app = TrackRequests(app)                     any application
    app.add_middleware(TrackRequests)            Starlette, FastAPI

The call is named by method and route (``GET /users/{user}``) where the application is Starlette's
or FastAPI's, else as *name* says, else ``request``. It lasts until the application has returned,
the whole of a streamed response included; an exception, and a status of 500 and above, is its
error. What a websocket leads to is in its trace, without a call of its own; lifespan and everything
else is passed through. Nothing that is received or sent is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from shmperf.integrations.observer import Sight
from shmperf.worker.adoption import adopt
from shmperf.worker.spans import spans
from shmperf.worker.traceparent import parse_traceparent

from .web import begin, failure, observer, tool_of

__all__ = ["TrackRequests"]

Scope = Any
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

_HTTP, _WEBSOCKET = "http", "websocket"
_HEADER = b"traceparent"
_START = "http.response.start"
# What Starlette says of a route that is the request's, method and all.
_FULL = 2


class TrackRequests:
    """A middleware around *app*; *name* gives the tool of a request by its scope, of few names."""

    def __init__(self, app: Any, *, name: Callable[[Any], str | None] | None = None) -> None:
        self.app = app
        self._name = name or self._by_route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Serve a request, or whatever *scope* is of."""
        header = observer.guard(_traceparent, scope)
        if header is None:
            return await self._serve(scope, receive, send)
        with adopt(header):
            return await self._serve(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] != _HTTP:
            return await self.app(scope, receive, send)
        sight = observer.guard(self._begin, scope)
        status = 0

        async def watched(message: Any) -> None:
            nonlocal status
            status = observer.guard(_status, message) or status
            await send(message)

        def reason(outcome: Any) -> BaseException | str | None:
            return failure(outcome, status)

        return await observer.watch(sight, reason, self.app, scope, receive, watched)

    def _begin(self, scope: Scope) -> Sight:
        return begin(self._name, scope, str(scope["method"]), str(scope["path"]))

    def _by_route(self, scope: Scope) -> str | None:
        """By the routes of Starlette's applications, whose own match comes later."""
        for route in getattr(scope.get("app", self.app), "routes", ()):
            match, _ = route.matches(scope)
            if match.value == _FULL:
                return tool_of(scope["method"], getattr(route, "path", None))
        return None


def _traceparent(scope: Scope) -> str | None:
    """The request's header, if there is one, and it is valid."""
    if scope["type"] not in (_HTTP, _WEBSOCKET) or spans.above():
        # Whose server's span is recorded has read the header: that span is the parent.
        return None
    values = [value for key, value in scope["headers"] if bytes(key).lower() == _HEADER]
    # Several are none, as the recommendation has it.
    text = bytes(values[0]).decode("latin-1").strip() if len(values) == 1 else ""
    return text if parse_traceparent(text) is not None else None


def _status(message: Any) -> int:
    return int(message["status"]) if message["type"] == _START else 0
