"""
The page's server as an application: every address, who answers it, and what it says when it can't.

    /                 the page            /static/NAME    its styles and scripts, by a table
    /api/…            QUESTIONS, and looks as they come; POST: what may be changed
    /metrics /healthz /openapi.json

Whatever asks collector or disk does so in one of a few threads, and once for all who ask the same.
An error is ``{"error": text}`` with the line that the commands print. What is not there is 404, and
200 for whoever sends ``Prefer: missing=told``, which the answer then names: the page does, since a
browser's console takes every 404 for a mistake of the page.
"""

from __future__ import annotations

import asyncio
import gzip
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shmperf.errors import NotKept, SessionError, ShmperfError
from shmperf.exporters.exposition import Exposition
from shmperf.exporters.prometheus import is_worth_packing, shown
from shmperf.exporters.traced import Traces
from shmperf.query.answers import Answers
from shmperf.query.look import Watch
from shmperf.views import page

from .asking import Shared, Threads
from .deeds import CleanUp, Deed, deeds
from .events import Following, TooMany
from .guarding import Message, Receive, Scope, Send
from .openapi import described
from .questions import QUESTIONS, Question, answered, wishes

__all__ = ["Site", "Sources"]

T = TypeVar("T")
_Endpoint = Callable[[Request], Awaitable[Any]]

_JSON = "application/json"
_MOST_THREADS = 8
_PATIENCE_S = 60.0
_MOST_BODY_BYTES = 1 << 16
_BODY_S = 10.0
_CHUNK_BYTES = 1 << 16
_MOST_FIELDS = 20
_TOLD = "missing=told"


class Sources(NamedTuple):
    """Who answers now, asked each time, and who forgets everything; both may raise ShmperfError."""

    find: Callable[[], Answers]
    clean_up: CleanUp


class _Rest(Convertor[str]):
    """What is left of a path: a tool's name may hold anything, a line's end too."""

    regex = r"(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("rest", _Rest())


class Site:
    """The application ``app``, of one event loop; ``end`` lets go of all who follow."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._threads = Threads(_MOST_THREADS, _PATIENCE_S)
        self._shared = Shared(self._threads)
        self._following = Following(Watch(sources.find))
        self._exposition, self._traces = Exposition(), Traces()
        self._deeds = deeds(sources.clean_up)
        self._description = msgspec.json.encode(described(QUESTIONS, self._deeds))
        self.app = Starlette(
            routes=self._routes(),
            exception_handlers={HTTPException: _refused, Exception: _failed},
        )
        self.app.router.redirect_slashes = False

    def end(self) -> None:
        """Let go of all who follow."""
        self._following.end()

    def _routes(self) -> list[Route]:
        found = [
            Route("/", _page),
            Route("/static/{name:rest}", _static),
            Route("/api/events", self._events),
            Route("/metrics", self._metrics),
            Route("/healthz", _health),
            Route("/openapi.json", self._openapi),
        ]
        for one in QUESTIONS:
            path = f"/api/{one.name}/{{key:rest}}" if one.key else f"/api/{one.name}"
            found.append(Route(path, partial(self._question, one)))
        for deed in self._deeds:
            path = f"/api/{deed.name}"
            found.append(Route(path, partial(self._deed, deed), methods=["POST"]))
        return found

    async def _question(self, question: Question, request: Request) -> Response:
        query = request.scope["query_string"].decode("latin-1")
        try:
            given = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
            wanted = wishes(question, given)
        except ValueError as error:
            raise HTTPException(400, str(error)) from None
        key = request.path_params.get("key", "")
        content = await self._told(
            self._shared.get(
                (question.path, key, msgspec.json.encode(wanted)),
                partial(answered, question, self._sources.find, wanted, key),
            )
        )
        return await self._packed(request, content)

    async def _deed(self, deed: Deed, request: Request) -> Response:
        body = await _body(request, deed.body)
        done = await self._told(
            self._threads.do(lambda: deed.do(self._sources.find(), body)), changes=True
        )
        self._shared.forget()
        return Response(msgspec.json.encode(done), media_type=_JSON)

    async def _metrics(self, request: Request) -> Response:
        accept = request.headers.get("accept", "")
        content, kind = await self._told(
            self._shared.get(("metrics", accept), self._scrape(accept))
        )
        found = await self._packed(request, content)
        found.headers["content-type"] = kind
        found.headers["vary"] = "Accept, Accept-Encoding"
        return found

    def _scrape(self, accept: str) -> Callable[[], tuple[bytes, str]]:
        return lambda: self._exposition(shown(self._sources.find(), self._traces), accept)

    async def _openapi(self, _: Request) -> Response:
        return Response(self._description, media_type=_JSON)

    async def _events(self, request: Request) -> _Events:
        events = self._following.events(request.headers.get("last-event-id", ""))
        try:
            first = await anext(events)
        except TooMany:
            text = "too many follow already: close a tab"
            raise HTTPException(503, text, {"Retry-After": "10"}) from None
        return _Events(events, first)

    async def _told(self, answer: Awaitable[T], *, changes: bool = False) -> T:
        """What *answer* gives; the errors that commands print have their place in HTTP."""
        try:
            return await answer
        except NotKept as error:
            raise HTTPException(404, str(error)) from None
        except (ShmperfError, OSError) as error:
            is_conflict = changes and type(error) is SessionError
            raise HTTPException(409 if is_conflict else 503, str(error)) from None

    async def _packed(self, request: Request, content: bytes) -> Response:
        accepted = request.headers.get("accept-encoding", "")
        peer = request.client.host if request.client else ""
        headers = {"vary": "Accept-Encoding"}
        if is_worth_packing(len(content), accepted, peer):
            content = await self._threads.do(partial(gzip.compress, content, compresslevel=1))
            headers["content-encoding"] = "gzip"
        return Response(content, headers=headers, media_type=_JSON)


class _Events:
    """An answer that goes on for as long as somebody reads it."""

    def __init__(self, events: Any, first: bytes) -> None:
        self._events = events
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until whoever reads them has gone."""
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        sending = asyncio.ensure_future(self._send(scope["method"], send))
        leaving = asyncio.ensure_future(_gone(receive))
        try:
            await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            # Once it has ended it is counted among those who follow no more.
            await asyncio.gather(sending, return_exceptions=True)

    async def _send(self, method: str, send: Send) -> None:
        async with aclosing(self._events) as events:
            await send(_part(self._first))
            if method != "HEAD":
                async for event in events:
                    # A large one in pieces: each waits until the one before is on its way.
                    for first in range(0, len(event), _CHUNK_BYTES):
                        await send(_part(event[first : first + _CHUNK_BYTES]))
            await send({"type": "http.response.body", "body": b""})


def _part(content: bytes) -> Message:
    return {"type": "http.response.body", "body": content, "more_body": True}


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _page(_: Request) -> Response:
    return Response(page.linked(), media_type="text/html")


async def _static(request: Request) -> Response:
    name = request.path_params["name"]
    try:
        return Response(page.text_of(name), headers={"content-type": page.kind_of(name)})
    except KeyError:
        raise HTTPException(404, "no such file of the page") from None


async def _health(_: Request) -> Response:
    return Response("ok\n", media_type="text/plain")


async def _body(request: Request, kind: type[T]) -> T:
    """What was sent, as a *kind*."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _JSON:
        raise HTTPException(415, f"Content-Type: expected {_JSON}")
    content = bytearray()
    try:
        async with asyncio.timeout(_BODY_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > _MOST_BODY_BYTES:
                    raise HTTPException(413, f"expected at most {_MOST_BODY_BYTES} bytes")
    except TimeoutError:
        raise HTTPException(408, "what is sent has not come whole") from None
    try:
        return msgspec.json.decode(content or b"{}", type=kind)
    except (msgspec.MsgspecError, ValueError) as error:
        raise HTTPException(400, str(error)) from None


async def _refused(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 500)
    text = getattr(error, "detail", "")
    headers = getattr(error, "headers", None)
    if status == 404 and request.headers.get("prefer") == _TOLD:
        status, headers = 200, {"preference-applied": _TOLD}
    content = msgspec.json.encode({"error": text})
    return Response(content, status, headers=headers, media_type=_JSON)


async def _failed(_: Request, error: Exception) -> Response:
    print(f"shmperf: an answer failed: {error!r}", file=sys.stderr)
    return Response(msgspec.json.encode({"error": repr(error)}), 500, media_type=_JSON)
