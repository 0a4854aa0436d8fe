"""Middlewares for web servers: each request a call, in the trace that it says it is in."""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import pytest

import shmperf
from shmperf.integrations import asgi, wsgi
from tests.support import DEADLINE_S, PYTHON, Place, needs, program_text, wait_until

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system: no port that somebody else may have."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


Ask = Callable[..., tuple[int, str]]


def asking(connect: Callable[[], http.client.HTTPConnection]) -> Ask:
    def ask(path: str, method: str = "GET", traceparent: str = "") -> tuple[int, str]:
        connection = connect()
        try:
            headers = {"traceparent": traceparent} if traceparent else {}
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    return ask


def asks_for_all(ask: Ask) -> None:
    """What both applications are asked for; the answers are theirs, and name the trace."""
    status, text = ask("/users/1", traceparent=HEADER)
    assert (status, text[:37]) == (200, f"1 00-{TRACE}-"[:37])
    assert ask("/users/2", "POST")[1][5:37] != TRACE
    _, text = ask("/streamed", traceparent=HEADER)
    assert [line[:37] for line in text.splitlines()] == [f"{n} 00-{TRACE}"[:37] for n in range(3)]
    assert ask("/refuses", traceparent=HEADER) == (503, "later")
    assert ask("/fails", traceparent=f"{HEADER}-more")[0] == 500
    assert ask("/nobody/knows/3")[0] == 404


def of_tool(place: Place, tool: str) -> list[dict[str, Any]]:
    """Its history, whatever its file is called."""
    files = sorted(place.storage.glob("*_perf.jsonl"))
    lines = [json.loads(text) for file in files for text in file.read_text().splitlines()]
    return [line["data"] for line in lines if line["tool"] == tool]


def checks_all(place: Place, user: str) -> None:
    """What was recorded of it: one call a request, with what it led to beneath."""
    place.wait_for_end()
    stats = place.stats()
    assert stats["in_flight"] == 0
    assert stats["faults"] == {}
    counts = {
        tool: (found["count"], found["errors"]) for tool, found in stats["tool_stats"].items()
    }
    assert counts == {
        f"GET {user}": (1, 0),
        f"POST {user}": (1, 0),
        "GET /streamed": (1, 0),
        "GET /refuses": (1, 1),
        "GET /fails": (1, 1),
        "request": (1, 0),
        "search": (5, 0),
    }
    nodes = {(node["parent"], node["tool"]): node["calls"] for node in place.ask("tree")}
    assert nodes["GET /streamed", "search"] == 3
    assert nodes[f"GET {user}", "search"] == nodes[f"POST {user}", "search"] == 1
    for tool, remote in ((f"GET {user}", True), ("GET /streamed", True), ("GET /fails", False)):
        (line,) = of_tool(place, tool)
        assert line.get("remote") == (f"{TRACE}-{SPAN}" if remote else None)
    assert [line["err"] for line in of_tool(place, "GET /refuses")] == ["ServerError"]
    (line,) = of_tool(place, "request")
    assert line["p"] == '{"method":"GET","path":"/nobody/knows/3"}'


def test_requests_to_starlette_on_uvicorn(place: Place) -> None:
    """Named by method and route, streamed to their end, failed by exception and by status."""
    needs("starlette")
    needs("flask")
    place.write("routes.py", program_text("web_servers/routes"))
    server = place.start(
        *(PYTHON, "-m", "uvicorn", "--uds=web.sock", "--log-level=critical", "routes:starlette")
    )
    ask = asking(lambda: _Connection(place.cwd / "web.sock"))
    wait_until((place.cwd / "web.sock").exists, "the server's socket")
    asks_for_all(ask)
    server.terminate()
    place.finish(server, code=-15)
    checks_all(place, "/users/{user}")


def test_requests_to_flask_on_wsgis_own_server(place: Place) -> None:
    """The same, of a server that is asked by one thread."""
    needs("starlette")
    needs("flask")
    server = place.start_program("web_servers/routes", REQUESTS="6")
    assert server.stdout is not None
    port = int(server.stdout.readline())
    asks_for_all(asking(lambda: http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)))
    place.finish(server)
    checks_all(place, "/users/<user>")


# --- nothing is changed ---------------------------------------------------------------------------


def served(app: Any, scope: dict[str, Any], *received: Any) -> list[Any]:
    """What *app* sends, in the order in which it does."""
    sent: list[Any] = []
    waiting: Iterator[Any] = iter(received)

    async def receive() -> Any:
        return next(waiting)

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


@pytest.mark.parametrize("kind", ["lifespan", "websocket", "http", "unheard-of"])
def test_every_scope_reaches_the_application_as_it_is(kind: str) -> None:
    """Scope, messages and what is received are the same objects."""
    message, event = {"type": "x", "status": 9}, object()
    scope = {"type": kind, "headers": [(b"Traceparent", b"garbage")], "method": "GET", "path": "/"}
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope, await receive()])
        await send(message)

    (sent,) = served(asgi.TrackRequests(app), scope, event)
    assert sent is message
    assert seen[0] is scope
    assert seen[1] is event


def test_a_websocket_is_in_its_trace() -> None:
    """What it leads to hands its trace on; it is no call itself."""
    headers = [(b"traceparent", HEADER.encode())]

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send(shmperf.current() is not None)

    scope = {"type": "websocket", "headers": headers}
    assert served(asgi.TrackRequests(app), scope) == [True]
    assert shmperf.current() is None


@pytest.mark.parametrize("scope", [{"type": "http"}, {"type": "http", "headers": 5, "method": b""}])
def test_a_scope_that_is_none_is_the_applications_affair(scope: dict[str, Any]) -> None:
    """What is not as it should be is served without a call, and raises nothing of ours."""

    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start"})
        raise LookupError("the application's own")

    with pytest.raises(LookupError, match="own"):
        served(asgi.TrackRequests(app), scope)
    assert shmperf.current() is None


def environ(**changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"QUERY_STRING": "", **changes}
    setup_testing_defaults(found)
    return found


def test_responses_are_the_applications_own() -> None:
    """A list and a file are handed on, for servers that look at them."""
    whole, file = [b"a", b"b"], FileWrapper(io.BytesIO(b"abc"))
    wrapped = environ(**{"wsgi.file_wrapper": FileWrapper})
    for response in (whole, file, (b"c",)):

        def app(_environ: Any, start_response: Any, response: Any = response) -> Any:
            start_response("200 OK", [])
            return response

        assert wsgi.TrackRequests(app)(wrapped, lambda *_: None) is response
        assert shmperf.current() is None


def test_wsgi_is_followed_to_the_letter() -> None:
    """By the standard library's validator, on both sides, with a response that is closed early."""
    closed = []

    class Pieces:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"a", b"b", b"c"])

        def close(self) -> None:
            closed.append(shmperf.current() is not None)

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return Pieces()

    both = validator(wsgi.TrackRequests(validator(app)))
    response = both(environ(HTTP_TRACEPARENT=HEADER), lambda *_: lambda _: None)
    assert next(iter(response)) == b"a"
    assert shmperf.current() is None
    response.close()
    assert closed == [True]
    assert shmperf.current() is None


def test_what_a_response_raises_is_the_servers() -> None:
    """An exception in the middle of an iterable is passed on, and is the call's error."""

    def app(_environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"a"
        raise LookupError("in the middle")

    response = iter(wsgi.TrackRequests(app)(environ(), lambda *_: None))
    assert next(response) == b"a"
    with pytest.raises(LookupError, match="middle"):
        next(response)
    assert shmperf.current() is None
