"""
What it costs to look: a report and its first paint, the page's server and its tabs, ``top``.

The report is of a storage that a program left: 100 tools, each call of them kept. What is live is
looked at beside 200 workers that call 1,000 tools between them, each with a call open; a tab is a
connection that takes what a browser would get, and throws it away. Paint is Chromium's figure where
there is one: until the first content is there, and until the table of tools is.
"""

from __future__ import annotations

import http.client
import importlib.util
import json
import os
import pty
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from fcntl import ioctl
from pathlib import Path
from struct import pack
from termios import TIOCSWINSZ
from typing import IO
from urllib.parse import parse_qs, urlsplit

from shmperf.commands.table import COMMANDS

from .measure import NO_RUNS, PROGRAMS, Row, cpu_s, private_place, row_of, run_program

__all__ = ["views"]

_TOOLS, _CALLS = 100, 1_000_000
_MOST_MB = 1.0
_WORKERS, _LIVE_TOOLS, _PER_S = 200, 1_000, 2_000
_TABS = 10
_DRAWN, _DRAWN_S = b"serve", 60.0
_TOP_TARGET = 10.0
_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
_SHMPERF = [sys.executable, "-m", "shmperf"]
_SIZE = pack("HHHH", 50, 160, 0, 0)
_PAINTED = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
_Environ = dict[str, str]


def views(*, quick: bool) -> list[Row]:
    """The rows."""
    return [*_reports(quick=quick), *_live(quick=quick)]


# --- a report ------------------------------------------------------------------------------------


def _reports(*, quick: bool) -> Iterator[Row]:
    calls, rounds = (10_000, 1) if quick else (_CALLS, 5)
    title = f"report, {_TOOLS} tools, {calls:,} calls"
    with private_place() as (cwd, environ):
        text = f"{NO_RUNS}default_perf_points: -1\n"
        (cwd / "config/tool_perf_limits.yaml").write_text(text)
        run_program("nested", cwd, environ, _TOOLS, calls)
        took_s = [_asked(["report", "-o", "report.html"], cwd, environ)[1] for _ in range(rounds)]
        file = cwd / "report.html"
        yield row_of(f"{title}: made in", took_s, "s")
        yield Row(
            name=f"{title}: size", value=file.stat().st_size / 1e6, unit="MB", target=_MOST_MB
        )
        yield from _paints(title, f"file://{file}", rounds)


def _asked(command: Sequence[str], cwd: Path, environ: _Environ) -> tuple[str, float]:
    """What it prints, and how long it took."""
    begun_s = time.perf_counter()
    done = subprocess.run(
        [*_SHMPERF, *command], cwd=cwd, env=environ, capture_output=True, text=True, check=True
    )
    return done.stdout, time.perf_counter() - begun_s


def _paints(title: str, url: str, rounds: int) -> Iterator[Row]:
    """The rows of a browser; none where there is no browser."""
    if shutil.which("chromium") is None or importlib.util.find_spec("playwright") is None:
        return
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  not everybody has it

    first: list[float] = []
    tables: list[float] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=_FLAGS)
        for _ in range(rounds):
            with browser.new_context() as context:
                page = context.new_page()
                if urlsplit(url).query:
                    # The token's address leads on to the page's own, which is then opened anew.
                    page.goto(url)
                    page.goto("about:blank")
                begun_s = time.perf_counter()
                page.goto(url.partition("?")[0] + "#/tools")
                page.wait_for_selector("#main .rows tbody tr[aria-rowindex]")
                tables.append(1e3 * (time.perf_counter() - begun_s))
                first.append(page.evaluate(_PAINTED))
        browser.close()
    yield row_of(f"{title}: first paint", first, "ms")
    yield row_of(f"{title}: until its table of tools is there", tables, "ms")


# --- live ----------------------------------------------------------------------------------------


def _live(*, quick: bool) -> Iterator[Row]:
    workers, tools, per_s = (20, 100, 200) if quick else (_WORKERS, _LIVE_TOOLS, _PER_S)
    seconds = 1.0 if quick else 20.0
    title = f"{workers} workers, {tools:,} tools, {per_s:,} calls/s"
    with private_place() as (cwd, environ), _crowd(cwd, environ, workers, tools, per_s):
        status = json.loads(_asked(["status", "--json"], cwd, environ)[0])
        collector = int(status["collector"]["pid"])
        (alone,) = _shares([collector], seconds)
        yield Row(name=f"{title}: collector, nobody looks", value=alone, unit="% of a core")
        with _server(cwd, environ) as (pid, url):
            for tabs in (1, _TABS):
                yield from _followed(title, (collector, pid), url, tabs, seconds)
            yield from _paints(f"{title}: page", url, 1 if quick else 5)
        if any(row.name == "top" for row in COMMANDS):
            with _top(cwd, environ) as pid:
                of_collector, of_top = _shares([collector, pid], seconds)
            yield Row(name=f"{title}: collector, with top", value=of_collector, unit="% of a core")
            yield Row(name=f"{title}: top", value=of_top, unit="% of a core", target=_TOP_TARGET)


def _shares(pids: Sequence[int], seconds: float) -> list[float]:
    """Per cent of a core that each takes meanwhile, after a while to settle."""
    time.sleep(seconds / 4)
    before, begun_s = [cpu_s(pid) for pid in pids], time.perf_counter()
    time.sleep(seconds)
    took_s = time.perf_counter() - begun_s
    return [100 * (cpu_s(pid) - used) / took_s for pid, used in zip(pids, before, strict=True)]


@contextmanager
def _crowd(cwd: Path, environ: _Environ, workers: int, tools: int, per_s: int) -> Iterator[None]:
    command = [sys.executable, str(PROGRAMS / "crowd.py"), *map(str, (workers, tools, per_s))]
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        if _pipe(process.stdout).readline().strip() != "called":
            raise RuntimeError("the workers did not call")
        try:
            yield
        finally:
            _pipe(process.stdin).close()


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("no pipe")
    return pipe


@contextmanager
def _server(cwd: Path, environ: _Environ) -> Iterator[tuple[int, str]]:
    """Its pid, and the page's address with its token."""
    command = [*_SHMPERF, "serve", "--json"]
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process.pid, json.loads(_pipe(process.stdout).readline())["url"]
        finally:
            process.terminate()


class _Tab:
    """What follows, and counts what it gets."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.size = 0
        self._connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        token = parse_qs(parts.query)["token"][0]
        self._connection.request("GET", "/api/events", headers={"Authorization": f"Bearer {token}"})
        self._answer = self._connection.getresponse()
        if self._answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"a tab was answered with {self._answer.status}")
        self._thread = threading.Thread(target=self._take, daemon=True)
        self._thread.start()

    def _take(self) -> None:
        with suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while taken := self._answer.read1(1 << 16):
                self.size += len(taken)

    def close(self) -> None:
        """It is closed as a tab is."""
        if self._connection.sock is not None:
            self._connection.sock.shutdown(2)
        self._thread.join(10)
        self._answer.close()
        self._connection.close()


def _followed(
    title: str, pids: tuple[int, int], url: str, count: int, seconds: float
) -> Iterator[Row]:
    """CPU of collector and server, bytes a second to a tab, once each has all tools."""
    with ExitStack() as closing:
        tabs = [_Tab(url) for _ in range(count)]
        for tab in tabs:
            closing.callback(tab.close)
        time.sleep(min(2.0, seconds))
        before, begun_s = sum(tab.size for tab in tabs), time.perf_counter()
        shares = _shares(pids, seconds)
        sent = sum(tab.size for tab in tabs) - before
        rate = sent / count / (time.perf_counter() - begun_s)
    name = f"{title}: {count} tab{'s' if count > 1 else ''}"
    for who, share in zip(("collector", "server"), shares, strict=True):
        yield Row(name=f"{name}, {who}", value=share, unit="% of a core")
    yield Row(name=f"{name}, to each", value=rate / 1e3, unit="kB/s")


@contextmanager
def _top(cwd: Path, environ: _Environ) -> Iterator[int]:
    """Its pid, in a terminal that somebody reads."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, _SIZE)
    environ = {**environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*_SHMPERF, "top"], cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        drawn = threading.Event()
        reader = threading.Thread(target=_read_all, args=(ours, drawn), daemon=True)
        reader.start()
        try:
            # To start costs more than to go on: it is over once there are rows.
            if not drawn.wait(_DRAWN_S):
                raise RuntimeError(f"top has drawn nothing within {_DRAWN_S:.0f} s")
            yield process.pid
        finally:
            process.terminate()
            process.wait(20)
            reader.join(20)
            os.close(ours)


def _read_all(descriptor: int, drawn: threading.Event) -> None:
    """Until its end; *drawn* once the row of the tool is there in which all workers are."""
    last = b""
    with suppress(OSError):
        while taken := os.read(descriptor, 1 << 16):
            if _DRAWN in last + taken:
                drawn.set()
            last = taken[-len(_DRAWN) :]
