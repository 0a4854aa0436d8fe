"""A program that calls, the page served beside it, and tabs of a real browser that show it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.support import Place, missing, place_in

__all__ = ["Service", "Tab", "admitted", "axe", "service_in"]

LOADED = """() => {
    const text = document.getElementById("main").innerText;
    return text.length > 20 && !text.includes("Loading…");
}"""
COUNTERPARTS = Path(os.environ.get("SHMPERF_COUNTERPARTS", "nowhere"))


def axe() -> str:
    """What finds in a page what hinders people; the test is skipped where it is missing."""
    path = COUNTERPARTS / "axe-core" / "axe.min.js"
    if not path.is_file():
        missing("SHMPERF_COUNTERPARTS names no directory that .ci/counterparts has filled")
    return path.read_text()


class Service:
    """The program tests/programs/views/service.py, and ``shmperf serve`` beside it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._program = place.start_program("views/service")
        place.ask("status", "--wait")
        self._server = place.start_module("serve", "--json")
        assert self._server.stdout is not None
        self.url = str(json.loads(self._server.stdout.readline())["url"])

    @property
    def home(self) -> str:
        """The page's address, without the token."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}/"

    @property
    def server_pid(self) -> int:
        """The pid of ``shmperf serve``."""
        return self._server.pid

    def call(self, what: str, count: int) -> None:
        """Have the program call, and wait until it has."""
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        print(what, count, file=self._program.stdin, flush=True)
        assert self._program.stdout.readline() == "done\n"

    def close(self) -> None:
        """End both as a user does; neither leaves a word of trouble behind."""
        self._server.terminate()
        self.place.finish(self._server)
        self.place.finish(self._program)
        self.place.wait_for_end()


@contextmanager
def service_in(cwd: Path, config: str = "") -> Iterator[Service]:
    """A service of its own in *cwd*."""
    runtime = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
    try:
        with place_in(cwd, runtime) as place:
            place.write("config/tool_perf_limits.yaml", f"default_perf_points: -1\n{config}")
            service = Service(place)
            yield service
            service.close()
    finally:
        shutil.rmtree(runtime, ignore_errors=True)


@contextmanager
def admitted(chromium: Any, service: Service, **known: Any) -> Iterator[Any]:
    """A browser's user who has opened the printed address once, as it is printed."""
    context = chromium.new_context(**known)
    page = context.new_page()
    page.goto(service.url)
    page.close()
    yield context
    context.close()


class Tab:
    """A page, and what went wrong in it: errors, warnings, and requests that failed or left."""

    def __init__(self, context: Any, home: str) -> None:
        self.page = context.new_page()
        self.troubles: list[str] = []
        self._home = home
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("console", self._said)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def open(self, hash_: str = "#/") -> Any:
        """Go to a view, and wait until it shows what it has."""
        self.page.goto(self._home + hash_)
        # The first of them may be a place for what is not there yet.
        self.page.wait_for_selector("#main .view > *", state="attached")
        return self.page

    def open_whole(self, hash_: str) -> Any:
        """Go to a view, and wait until it has all it asked for."""
        page = self.open(hash_)
        page.wait_for_function(LOADED)
        return page

    def _said(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.troubles.append(f"{message.type}: {message.text}")

    def _failed(self, request: Any) -> None:
        # A view that is left gives up what it asked for, and a page its events.
        if "ERR_ABORTED" not in str(request.failure):
            self.troubles.append(f"{request.url}: {request.failure}")

    def _answered(self, response: Any) -> None:
        if response.status >= 400 or not response.url.startswith((self._home, "data:")):
            self.troubles.append(f"{response.url}: {response.status}")
