"""
``python -m bench.screenshots [DIRECTORY]``: the README's pictures, of the demo while it runs.

    page-light.png, page-dark.png   the page's overview, as a browser shows it
    top.svg                         ``shmperf top``, as a terminal shows it

Needs Chromium, playwright and tmux. Written into this directory when none is said; a picture that
is larger than a README should load is an error.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from .measure import private_place, wait_until

__all__: list[str] = []

_SECONDS = 45
# The demo has calls to show by then, and some to make.
_SEEN_S = 10.0
_TERMINAL_S = 5.0
_MOST_BYTES = 150_000
_WIDE, _HIGH = 1280, 800
_VIEWS = {"page": "#/"}
_PICTURES = ("page-light.png", "page-dark.png", "top.svg")
_COLUMNS, _LINES = 132, 38
_SHMPERF = [sys.executable, "-m", "shmperf"]
_LOADED = "() => !document.getElementById('main').innerText.includes('Loading…')"


def main() -> int:
    """Take them; the exit code."""
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    with private_place() as (cwd, environ), _demo(cwd, environ), _page(cwd, environ) as url:
        time.sleep(_SEEN_S)
        _browse(url, directory)
        _terminal(cwd, environ, directory / "top.svg")
    for picture in (directory / name for name in _PICTURES):
        size = picture.stat().st_size
        print(f"{picture}: {size:,} bytes")
        if size > _MOST_BYTES:
            raise SystemExit(f"{picture}: {size:,} bytes, expected {_MOST_BYTES:,} at most")
    return 0


@contextmanager
def _demo(cwd: Path, environ: dict[str, str]) -> Iterator[None]:
    """The demo, until its calls are in flight, and then to its end."""
    command = [*_SHMPERF, "demo", "--seconds", str(_SECONDS)]
    with subprocess.Popen(command, cwd=cwd, env=environ, stdout=subprocess.DEVNULL):
        if not wait_until(lambda: _asked(cwd, environ), 60.0):
            raise SystemExit("the demo did not begin")
        yield


def _asked(cwd: Path, environ: dict[str, str]) -> Any:
    """The calls in flight; nothing where nobody answers yet."""
    command = [*_SHMPERF, "inflight", "--json", "--storage", "perf_data"]
    done = subprocess.run(command, cwd=cwd, env=environ, capture_output=True, check=False)
    return done.returncode == 0 and json.loads(done.stdout)


@contextmanager
def _page(cwd: Path, environ: dict[str, str]) -> Iterator[str]:
    command = [*_SHMPERF, "serve", "--json", "--storage", "perf_data"]
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield json.loads(process.stdout.readline())["url"] if process.stdout else ""
        finally:
            process.terminate()


def _browse(url: str, directory: Path) -> None:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  not everybody has it

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"),
            args=["--no-sandbox", "--disable-dev-shm-usage"],
        )
        page = browser.new_page(viewport={"width": _WIDE, "height": _HIGH}, reduced_motion="reduce")
        page.goto(url)
        home = url.partition("?")[0]
        # What moves is drawn from several looks.
        page.wait_for_timeout(5_000)
        for name, address in _VIEWS.items():
            for colours in ("light", "dark"):
                page.emulate_media(color_scheme=colours)
                page.goto(home + address)
                page.wait_for_function(_LOADED)
                page.wait_for_timeout(1_000)
                page.screenshot(path=directory / f"{name}-{colours}.png")
        browser.close()


def _terminal(cwd: Path, environ: dict[str, str], path: Path) -> None:
    """What a terminal of tmux shows, colours and all, drawn as Rich draws text."""
    tmux = ["tmux", "-L", f"screenshots-{os.getpid()}", "-f", "/dev/null"]
    command = [*_SHMPERF, "top", "--storage", "perf_data"]
    size = ["-x", str(_COLUMNS), "-y", str(_LINES)]
    environ = {**environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}
    subprocess.run([*tmux, "new-session", "-d", *size, *command], cwd=cwd, env=environ, check=True)
    try:
        time.sleep(_TERMINAL_S)
        show = [*tmux, "capture-pane", "-e", "-p"]
        screen = subprocess.run(show, env=environ, capture_output=True, text=True, check=True)
    finally:
        # Of a command that has ended there is no server any more.
        subprocess.run([*tmux, "kill-server"], env=environ, capture_output=True, check=False)
    console = Console(width=_COLUMNS, record=True, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(screen.stdout.rstrip("\n")), no_wrap=True, crop=True)
    # Rich's own form loads its letters from elsewhere.
    form = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    console.save_svg(str(path), title="shmperf top", code_format=form)


if __name__ == "__main__":
    sys.exit(main())
