"""A real browser, and files as a web server has them for it to show."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

__all__ = ["browser", "opened_page", "served"]

# Tests run as root, where there is no sandbox, and share the machine's memory with others.
_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]


class _Served(SimpleHTTPRequestHandler):
    """Files, without a line for each on standard error."""

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@contextmanager
def served(directory: Path) -> Iterator[str]:
    """Where the files of *directory* are served."""
    handler = partial(_Served, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser() -> Iterator[Any]:
    """A browser, for as many users and tabs as a test opens."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        yield running
        running.close()


@contextmanager
def opened_page(url: str) -> Iterator[Any]:
    """A page of a browser that has gone there; AssertionError for what went wrong in it."""
    errors: list[str] = []
    with browser() as running:
        page = running.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        yield page
    assert not errors
