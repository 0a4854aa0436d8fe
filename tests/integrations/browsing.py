"""Files as a web server has them, for a real browser that shows them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

__all__ = ["FLAGS", "opened_page", "served"]

# Tests run as root, where there is no sandbox, and share the machine's memory with others.
FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]


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
def opened_page(url: str) -> Iterator[Any]:
    """A page of a browser that has gone there; AssertionError for what went wrong in it."""
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(url)
        yield page
        browser.close()
    assert not errors
