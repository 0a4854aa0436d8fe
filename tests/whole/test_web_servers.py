"""Real web servers: calls in all their workers are counted, beneath the requests that made them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import DEADLINE_S, PYTHON, Place, program_text, wait_until

GUNICORN = ("gunicorn", "--workers=2", "--bind=unix:web.sock", "--no-control-socket", "web:wsgi")
SERVERS = {
    "gunicorn": GUNICORN,
    "gunicorn preloaded": (*GUNICORN, "--preload"),
    "gunicorn threads": (*GUNICORN, "--threads=4"),
    "uvicorn": ("uvicorn", "--workers=2", "--uds=web.sock", "--lifespan=off", "web:asgi"),
}


class _Connection(http.client.HTTPConnection):
    """HTTP over a socket in the file system: no port that somebody else may have."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _ask(place: Place, path: str) -> str | None:
    """The answer to a request; None when there is nobody, or he dies of it."""
    connection = _Connection(place.cwd / "web.sock")
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _answered(place: Place, path: str) -> Callable[[], bool]:
    return lambda: _ask(place, path) is not None


@pytest.mark.parametrize("server", SERVERS)
def test_requests_are_parents_in_every_worker(place: Place, server: str) -> None:
    """Two workers, one of which is killed in a request and replaced; then a quiet end."""
    place.write("web.py", program_text("web_servers/web"))
    program = place.start(PYTHON, "-m", *SERVERS[server])
    wait_until(_answered(place, "/first"), "the first answer")
    pids = set()

    def both_answered() -> bool:
        pids.add((_ask(place, "/found") or "0 ").split()[0])
        return len(pids - {"0"}) == 2

    wait_until(both_answered, "answers of both workers")
    assert _ask(place, "/die") is None
    wait_until(_answered(place, "/last"), "an answer after a death")
    program.terminate()
    place.finish(program)
    stats = place.stats()
    assert stats["lost"] == {}
    assert stats["in_flight"] == 0
    tools = stats["tool_stats"]
    assert (tools["request"]["aborted"], tools["search"]["aborted"]) == (1, 1)
    nodes = {(node["parent"], node["tool"]): node["calls"] for node in place.ask("tree")}
    assert nodes["request", "search"] == tools["request"]["count"] == nodes[None, "request"]
    assert tools["request"]["count"] >= 3
