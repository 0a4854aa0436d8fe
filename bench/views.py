"""
What it costs to look: a report and its first paint, the page's server and its tabs, ``top``.

The report is of a storage that a program left: 100 tools, each call of them kept. What is live is
looked at beside 200 workers that call 1,000 tools between them, each with a call open; a tab is a
connection that takes what a browser would get, and throws it away. Paint is Chromium's figure where
there is one: until the first content is there, and until the table of tools is.

Whatever is measured has started: a tab has its first look, `top` its first screen. The long form
takes some minutes, of which most go into the calls of the report, and says how far it is.
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

from .measure import NO_RUNS, PROGRAMS, Row, cpu_s, private_place, row_of, wait_until

__all__ = ["views"]

_TOOLS, _CALLS = 100, 1_000_000
_MOST_MB = 1.0
_WORKERS, _LIVE_TOOLS, _PER_S = 200, 1_000, 2_000
_TABS = 10
_DRAWN, _STARTED_S, _QUIET_S = b"serve", 60.0, 0.05
_TOP_TARGET, _FRAME_TARGET_MS = 10.0, 100.0
# Down and up: each moves the cursor, and ends where it began.
_KEYS = (b"\x1b[B", b"\x1b[A")
_HAS_TOOLS = b'"tools":[{'
_FLAGS = ["--no-sandbox", "--disable-dev-shm-usage"]
_ALL_OF_THEM = f"{NO_RUNS}default_perf_points: -1\nrag: {{enabled: false}}\n"
_SHMPERF = [sys.executable, "-m", "shmperf"]
_SIZE = pack("HHHH", 50, 160, 0, 0)
_PAINTED = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime"""
_Environ = dict[str, str]


def views(*, quick: bool) -> list[Row]:
    """The rows."""
    return [*_reports(quick=quick), *_live(quick=quick)]


# --- a report ------------------------------------------------------------------------------------


def _reports(*, quick: bool) -> Iterator[Row]:
    calls, rounds = (10_000, 1) if quick else (_CALLS, 3)
    title = f"report, {_TOOLS} tools, {calls:,} calls"
    with private_place() as (cwd, environ):
        (cwd / "config/tool_perf_limits.yaml").write_text(_ALL_OF_THEM)
        _make(cwd, environ, calls)
        _say(title)
        took_s = [_asked(["report", "-o", "report.html"], cwd, environ)[1] for _ in range(rounds)]
        file = cwd / "report.html"
        yield row_of(f"{title}: made in", took_s, "s")
        yield Row(
            name=f"{title}: size", value=file.stat().st_size / 1e6, unit="MB", target=_MOST_MB
        )
        yield from _paints(title, f"file://{file}", rounds)


def _make(cwd: Path, environ: _Environ, calls: int) -> None:
    """So many calls of history, which takes longer than anything else here: told by tenths."""
    command = [sys.executable, str(PROGRAMS / "nested.py"), str(_TOOLS), str(calls)]
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, text=True
    ) as process:
        told = ""
        for told in _pipe(process.stdout):
            if "%" in told:
                _say(f"{calls:,} calls of history: {told.strip()}")
    if process.returncode or told.split() != [str(calls), "0"]:
        raise RuntimeError(f"the history was not made: {told.strip()}")


def _say(text: str) -> None:
    print(f"views: {text}", file=sys.stderr, flush=True)


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
    seconds = 1.0 if quick else 10.0
    title = f"{workers} workers, {tools:,} tools, {per_s:,} calls/s"
    _say(f"{title}: they start")
    with private_place() as (cwd, environ), _crowd(cwd, environ, workers, tools, per_s):
        # It has counted what all of them called to begin with.
        _asked(["stats", "--json"], cwd, environ)
        status = json.loads(_asked(["status", "--json"], cwd, environ)[0])
        collector = int(status["collector"]["pid"])
        _say("nobody looks")
        (alone,) = _shares([collector], seconds)
        yield Row(name=f"{title}: collector, nobody looks", value=alone, unit="% of a core")
        with _server(cwd, environ) as (pid, url):
            for tabs in (1, _TABS):
                _say(f"tabs: {tabs}")
                yield from _followed(title, (collector, pid), url, tabs, seconds)
            _say("the page in a browser")
            yield from _paints(f"{title}: page", url, 1 if quick else 3)
        if any(row.name == "top" for row in COMMANDS):
            _say("top")
            yield from _watched(title, collector, cwd, environ, seconds)


def _watched(
    title: str, collector: int, cwd: Path, environ: _Environ, seconds: float
) -> Iterator[Row]:
    """CPU of collector and ``top``, and how long after a key its screen follows."""
    with _top(cwd, environ) as screen:
        of_collector, of_top = _shares([collector, screen.pid], seconds)
        frames_ms = [1e3 * screen.follows_s(_KEYS[n % 2]) for n in range(10 if seconds < 5 else 40)]
    yield Row(name=f"{title}: collector, with top", value=of_collector, unit="% of a core")
    yield Row(name=f"{title}: top", value=of_top, unit="% of a core", target=_TOP_TARGET)
    yield row_of(f"{title}: top, a key until drawn", frames_ms, "ms", target=_FRAME_TARGET_MS)


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
        # Of each look that shows tools; the first one has all of them.
        self.looks: list[int] = []
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
            while line := self._answer.readline():
                self.size += len(line)
                if _HAS_TOOLS in line:
                    self.looks.append(len(line))

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
        if not wait_until(lambda: all(tab.looks for tab in tabs), _STARTED_S):
            raise RuntimeError(f"a tab has seen no tools within {_STARTED_S:.0f} s")
        before, begun_s = sum(tab.size for tab in tabs), time.perf_counter()
        shares = _shares(pids, seconds)
        sent = sum(tab.size for tab in tabs) - before
        rate = sent / count / (time.perf_counter() - begun_s)
        # A machine with too much to do has few looks a second: each is as large as anywhere.
        wait_until(lambda: len(tabs[0].looks) > 1, _STARTED_S)
        sizes = [size for tab in tabs for size in tab.looks[1:]]
    name = f"{title}: {count} tab{'s' if count > 1 else ''}"
    for who, share in zip(("collector", "server"), shares, strict=True):
        yield Row(name=f"{name}, {who}", value=share, unit="% of a core")
    yield Row(name=f"{name}, to each", value=rate / 1e3, unit="kB/s")
    if sizes:
        yield row_of(f"{name}, a look", [size / 1e3 for size in sizes], "kB")


class _Screen:
    """A terminal that somebody reads, in which *process* draws."""

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.pid = process.pid
        self.drawn = threading.Event()
        self._descriptor = descriptor
        self._has_changed = threading.Event()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def follows_s(self, key: bytes) -> float:
        """How long after *key* something is drawn, where nothing was for a while."""
        while self._has_changed.wait(_QUIET_S):
            self._has_changed.clear()
        begun_s = time.perf_counter()
        os.write(self._descriptor, key)
        if not self._has_changed.wait(_STARTED_S):
            raise RuntimeError(f"nothing follows a key within {_STARTED_S:.0f} s")
        return time.perf_counter() - begun_s

    def _read(self) -> None:
        """Until its end; *drawn* once the row of the tool is there in which all workers are."""
        last = b""
        with suppress(OSError):
            while taken := os.read(self._descriptor, 1 << 16):
                self._has_changed.set()
                if _DRAWN in last + taken:
                    self.drawn.set()
                last = taken[-len(_DRAWN) :]


@contextmanager
def _top(cwd: Path, environ: _Environ) -> Iterator[_Screen]:
    """In a terminal, once it has drawn."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, _SIZE)
    environ = {**environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        [*_SHMPERF, "top"], cwd=cwd, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    ) as process:
        os.close(theirs)
        screen = _Screen(process, ours)
        try:
            # To start costs more than to go on: it is over once there are rows.
            if not screen.drawn.wait(_STARTED_S):
                raise RuntimeError(f"top has drawn nothing within {_STARTED_S:.0f} s")
            yield screen
        finally:
            process.terminate()
            process.wait(20)
            screen.reader.join(20)
            os.close(ours)
