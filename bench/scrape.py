"""
How long a scrape takes, by tools and by workers that have gone; prometheus_client's beside it.

Ours is the whole of it: an HTTP request to the session's endpoint, which asks the collector and
makes the answer. Theirs is what the multiprocess mode of prometheus_client does for one, without
HTTP: it reads the files that workers leave. Between two scrapes every tool is called, and the calls
are drained, so that no tool is found as it was; *at rest* none is called.

A worker calls a hundred tools at most, in both systems, with as many buckets as each has by itself
(ours 30 and those of the native histogram, theirs 15).
"""

from __future__ import annotations

import http.client
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .measure import NO_RUNS, PROGRAMS, Row, private_place, wait_until

__all__ = ["free_port", "scrape", "scraper", "scrapes"]

_ACCEPTS = {
    "protobuf": "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;"
    "encoding=delimited",
    "OpenMetrics": "application/openmetrics-text;version=1.0.0",
    "text": "text/plain;version=0.0.4",
}
_AT_REST = "protobuf, at rest"
# Tools that a worker calls before it is gone.
_SHARE = 100
_TOOLS = (10, 1_000, 10_000)
_WORKERS = (1, 64, 1_000)
_TARGETS_MS = {1_000: 20.0}
# prometheus_client's scrapes take so long at most together, but for the last.
_THEIRS_S = 20.0
# Of a format, between its scrapes.
_MOST_CALLS = 100_000


def scrapes(*, quick: bool) -> Iterator[Row]:
    """The rows: the median, and from the median to the 95th percentile."""
    cells = [(1_000, 8)] if quick else [(tools, dead) for tools in _TOOLS for dead in _WORKERS]
    for tools, dead in cells:
        rounds = 4 if quick else min(30, _MOST_CALLS // tools)
        yield from _cell(tools, dead, rounds, _THEIRS_S / 20 if quick else _THEIRS_S)


def _cell(tools: int, dead: int, rounds: int, theirs_s: float) -> Iterator[Row]:
    ours = _ours(tools, dead, rounds)
    title = f"scrape, {tools:,} tools, {dead:,} dead workers"
    for kind, figures in ours.items():
        yield _row(f"{title}: {kind}", figures, _TARGETS_MS.get(tools))
    theirs = _theirs(tools, dead, rounds, theirs_s)
    yield _row(f"{title}: prometheus_client's multiprocess mode", theirs)
    share = statistics.median(ours["text"]) / statistics.median(theirs)
    yield Row(name=f"{title}: text ÷ prometheus_client", value=share, unit="×")


def _row(name: str, figures: list[float], target: float | None = None) -> Row:
    """The median, up to the 95th percentile."""
    ordered = sorted(figures)
    return Row(
        name=f"{name}, to p95",
        value=statistics.median(ordered),
        unit="ms",
        low=statistics.median(ordered),
        high=ordered[round(0.95 * (len(ordered) - 1))],
        rounds=len(ordered),
        target=target,
    )


class _Program:
    """Workers that have gone, and one that calls when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._said: IO[str] = _pipe(process.stdout)
        self._told: IO[str] = _pipe(process.stdin)
        self._expect("gone")

    def call(self) -> None:
        """Call every tool once."""
        print(file=self._told, flush=True)
        self._expect("called")

    def _expect(self, word: str) -> None:
        if self._said.readline().strip() != word:
            raise RuntimeError(f"the program did not say {word!r}")


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise RuntimeError("no pipe")
    return pipe


@contextmanager
def _program(
    system: str, tools: int, dead: int, cwd: Path, environ: dict[str, str]
) -> Iterator[_Program]:
    command = [sys.executable, str(PROGRAMS / "dead_workers.py"), system]
    command += map(str, (tools, dead, _SHARE))
    with subprocess.Popen(
        command, cwd=cwd, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _Program(process)
        finally:
            _pipe(process.stdin).close()


def _ours(tools: int, dead: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds by format, those of protobuf when nothing was called in between too."""
    found: dict[str, list[float]] = {kind: [] for kind in (*_ACCEPTS, _AT_REST)}
    with private_place() as (cwd, environ):
        port = free_port()
        options = f"export: {{prometheus: {{listen: '127.0.0.1:{port}'}}}}\n"
        (cwd / "config/tool_perf_limits.yaml").write_text(NO_RUNS + options)
        with (
            _program("shmperf", tools, dead, cwd, environ) as program,
            scraper(port) as connection,
        ):
            program.call()
            for _ in range(rounds):
                for kind in _ACCEPTS:
                    program.call()
                    found[kind].append(scrape(connection, kind))
                # The protobuf of before, with the calls of two scrapes that were not its.
                scrape(connection)
                found[_AT_REST].append(scrape(connection))
    return found


def free_port() -> int:
    """One on this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def scraper(port: int) -> Iterator[http.client.HTTPConnection]:
    """A connection that stays, as Prometheus' does, to a session's endpoint once it listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    if not wait_until(lambda: _is_up(connection), 20.0):
        raise RuntimeError("nobody is to be scraped")
    yield connection
    connection.close()


def _is_up(connection: http.client.HTTPConnection) -> bool:
    try:
        connection.connect()
    except OSError:
        return False
    return True


def scrape(connection: http.client.HTTPConnection, kind: str = "protobuf") -> float:
    """Milliseconds of one, as Prometheus asks for it."""
    headers = {"Accept": _ACCEPTS[kind], "Accept-Encoding": "gzip"}
    begun_s = time.perf_counter()
    connection.request("GET", "/metrics", headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    took_s = time.perf_counter() - begun_s
    if answer.status != http.HTTPStatus.OK or not content:
        raise RuntimeError(f"a scrape was answered with {answer.status}: {content[:200]!r}")
    return took_s * 1e3


def _theirs(tools: int, dead: int, rounds: int, longest_s: float) -> list[float]:
    """Milliseconds, as many rounds as there is time for, one at least."""
    from prometheus_client import CollectorRegistry, generate_latest  # noqa: PLC0415  a peer
    from prometheus_client.multiprocess import MultiProcessCollector  # noqa: PLC0415  the same

    found: list[float] = []
    with private_place() as (cwd, environ):
        figures = cwd / "figures"
        figures.mkdir()
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(figures)
        with _program("prometheus", tools, dead, cwd, environ) as program:
            while len(found) < rounds and sum(found) < longest_s * 1e3:
                program.call()
                begun_s = time.perf_counter()
                registry = CollectorRegistry()
                MultiProcessCollector(registry, str(figures))
                content = generate_latest(registry)
                found.append((time.perf_counter() - begun_s) * 1e3)
                if content.count(b"tool_seconds_count") != tools:
                    raise RuntimeError("a tool is missing")
    return found
