"""
WSGI: each request is a call, in the trace that its ``traceparent`` names.

    app = TrackRequests(app)                     any application
    app.wsgi_app = TrackRequests(app.wsgi_app, name=flask_route(app))       Flask

The call is named ``request``, or as *name* says. It lasts until the response is there: a list at
once, an iterable when it is exhausted or closed. What an iterable does meanwhile is beneath the
call, in whichever thread the server asks it. An exception, and a status of 500 and above, is its
error. The response is the application's own: lists and files are handed on as they are, for the
servers that look at them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from shmperf.integrations.observer import Sight
from shmperf.worker.adoption import held
from shmperf.worker.context import Pair, current_call
from shmperf.worker.process import worker
from shmperf.worker.spans import spans

from .web import begin, failure, observer, tool_of

__all__ = ["TrackRequests", "flask_route"]

Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class TrackRequests:
    """A middleware around *app*; *name* gives a request's tool by its environ, of few names."""

    def __init__(self, app: Any, *, name: Callable[[Environ], str | None] | None = None) -> None:
        self.app = app
        self._name = name or _no_name

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Serve a request."""
        request = _Request(observer.guard(_traceparent, environ) or 0)
        try:
            request.sight = observer.guard(self._begin, environ)

            def started(status: str, *rest: Any, **more: Any) -> Any:
                request.status = observer.guard(_number, status) or 0
                return start_response(status, *rest, **more)

            response: Iterable[bytes] = self.app(environ, started)
        except BaseException as error:
            # Noted and passed on.
            request.leave()
            request.end(error)
            raise
        request.leave()
        if isinstance(response, list | tuple) or _is_file(environ, response):
            request.end(None)
            return response
        return _Stream(response, request)

    def _begin(self, environ: Environ) -> Sight:
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        return begin(self._name, environ, str(method), str(path))


def flask_route(app: Any) -> Callable[[Environ], str | None]:
    """What names the requests of a Flask application by method and route: ``GET /users/<user>``."""

    def name(environ: Environ) -> str | None:
        routes = app.url_map.bind_to_environ(environ)
        try:
            rule, _ = routes.match(return_rule=True)
        except Exception:  # noqa: BLE001  an address that is nobody's, which the application answers
            return None
        return tool_of(environ["REQUEST_METHOD"], rule.rule)

    return name


class _Request:
    """A request that is served: its call, and what is current beneath it."""

    __slots__ = ("_context_id", "_inside", "_outer", "sight", "status")

    def __init__(self, context_id: int) -> None:
        """In this context; *context_id* is that of its trace from elsewhere, or 0."""
        self._context_id = context_id
        self._outer: int | Pair = current_call.get()
        self._inside: int | Pair = 0
        self.sight: Sight | None = None
        self.status = 0
        if context_id:
            current_call.set(context_id)

    def enter(self) -> None:
        """The application goes on, in this context."""
        self._outer = current_call.get()
        current_call.set(self._inside)

    def leave(self) -> None:
        """The server goes on."""
        self._inside = current_call.get()
        current_call.set(self._outer)

    def end(self, error: BaseException | None) -> None:
        """It has been served; only the first time."""
        sight, self.sight = self.sight, None
        context_id, self._context_id = self._context_id, 0
        try:
            if sight is not None:
                sight.end(failure(error, self.status))
        finally:
            if context_id:
                worker.remotes.release(context_id)


class _Stream:
    """A response that the server asks for piece by piece."""

    def __init__(self, response: Iterable[bytes], request: _Request) -> None:
        self._response = response
        self._request = request
        self._pieces: Iterator[bytes] | None = None

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._request.enter()
        try:
            if self._pieces is None:
                self._pieces = iter(self._response)
            return next(self._pieces)
        except BaseException as error:
            # Its end, or its failure: passed on.
            self._request.end(None if isinstance(error, StopIteration) else error)
            raise
        finally:
            self._request.leave()

    def close(self) -> None:
        """The server has had enough, or all."""
        close = getattr(self._response, "close", None)
        self._request.enter()
        try:
            if close is not None:
                close()
        except BaseException as error:
            # The application's own.
            self._request.end(error)
            raise
        finally:
            self._request.leave()
            self._request.end(None)


def _traceparent(environ: Environ) -> int:
    if spans.above():
        # Whose server's span is recorded has read the header: that span is the parent.
        return 0
    return held(str(environ.get("HTTP_TRACEPARENT", "")).strip())


def _no_name(_environ: Environ) -> None:
    """Nobody knows its route."""


def _number(status: str) -> int:
    return int(status[:3])


def _is_file(environ: Environ, response: object) -> bool:
    """True for what the server may send by itself."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(wrapper, type) and isinstance(response, wrapper)
