"""
What exports cost beside a program that calls: CPU of each sidecar, and of the collector.

A session of 5,000 calls a second over 20 tools, all of them kept, so that each is a span. With
exports it has an OTLP endpoint that acknowledges everything, and one of its own that is scraped
every five seconds; without it is the same session. They take turns, and what the collector's
process takes is compared round by round. What it takes more is the thread that writes; the one
that drains is measured apart, in one process, with a reader of the outbox and without.
"""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

from shmperf.storage.consumer import Consumer, consumers

from .measure import (
    NO_RUNS,
    PROGRAMS,
    Row,
    private_place,
    ratio,
    row_of,
    run_python,
    thread_cpu_ns,
    wait_until,
)
from .rig import Rig, rig_of
from .scrape import free_port, scrape, scraper

__all__ = ["sidecars"]

_TOOLS, _PER_S = 20, 5_000
_SCRAPE_S = 5.0
# Longer than anything waits to be flushed.
_FLUSH_S = 1.0
_TARGET = 3.0
_STATUS = "import sys; from shmperf.commands.main import main; sys.exit(main(['status', '--json']))"
_KEEP_ALL = "default_perf_points: -1\n"
_OPTIONS = (
    "export: {{otlp: {{endpoint: 'http://127.0.0.1:{receiver}'}}, "
    "prometheus: {{listen: '127.0.0.1:{port}'}}}}\n"
)
_OF_A_SPAN = b"gen_ai.tool.call.id"


class _Costs(NamedTuple):
    """Per cent of a core by process, and how many spans were acknowledged."""

    shares: dict[str, float]
    spans: int


def sidecars(*, quick: bool) -> Iterator[Row]:
    """The rows."""
    # Calls are written every two seconds, and go out in waves.
    rounds, warm_s, seconds = (1, 1.0, 4.0) if quick else (5, 3.0, 20.0)
    found: dict[bool, list[_Costs]] = {True: [], False: []}
    order = [True, False]
    for _ in range(rounds):
        for has_exports in order:
            found[has_exports].append(_round(warm_s, seconds, has_exports=has_exports))
        order.reverse()
    title = f"{_PER_S:,} calls/s"
    for name in ("otlp", "prometheus"):
        shares = [costs.shares[name] for costs in found[True]]
        yield row_of(f"{title}: sidecar {name}", shares, "% of a core", target=_TARGET)
    spans = [costs.spans / seconds for costs in found[True]]
    yield row_of(f"{title}: sent", spans, "spans/s")
    collectors = {key: [costs.shares["collector"] for costs in found[key]] for key in found}
    yield row_of(f"{title}: collector without exports", collectors[False], "% of a core")
    yield ratio(f"{title}: collector, with exports ÷ without", collectors[True], collectors[False])
    yield _steps(10 if quick else 60)


def _steps(rounds: int) -> Row:
    """The thread that drains, where what it has drained is also copied for who sends it."""
    took: dict[str, list[float]] = {"read": [], "unread": []}
    with (
        rig_of(_KEEP_ALL) as read,
        rig_of(_KEEP_ALL) as unread,
        closing(Consumer(read.storage, "bench")) as reader,
    ):
        reader.register()
        rigs = {"read": read, "unread": unread}
        order = list(rigs)
        for _ in range(rounds + 1):
            for name in order:
                took[name].append(_step_ns(rigs[name]))
            order.reverse()
        _check_read(read.storage)
    # The first of each has made its files.
    return ratio(
        "collector's own thread, with a reader of the outbox ÷ without",
        took["read"][1:],
        took["unread"][1:],
        target=1.05,
    )


def _step_ns(rig: Rig) -> float:
    """CPU of this thread for a call, drained, journalled and flushed."""
    rig.fill_flat()
    begun_ns = time.thread_time_ns()
    count = rig.run()
    rig.clock.now_s += _FLUSH_S
    rig.run()
    return (time.thread_time_ns() - begun_ns) / count


def _check_read(storage: Path) -> None:
    """Lines wait in the outbox, or nothing was measured; RuntimeError."""
    if not consumers(storage)["bench"].lag:
        raise RuntimeError("nothing was written for the reader")


def _round(warm_s: float, seconds: float, *, has_exports: bool) -> _Costs:
    """A session of its own, measured for so long once it is warm."""
    with private_place() as (cwd, environ), _receiver() as receiver:
        port = free_port()
        options = _OPTIONS.format(receiver=receiver.server_port, port=port)
        (cwd / "config/tool_perf_limits.yaml").write_text(
            NO_RUNS + _KEEP_ALL + (options if has_exports else "")
        )
        with _calling(cwd, environ):
            if not has_exports:
                time.sleep(warm_s)
                return _Costs(_measured(_pids(cwd, environ), seconds), 0)
            with scraper(port) as connection:
                scrape(connection)
                if not wait_until(lambda: receiver.spans, 20.0):
                    raise RuntimeError("nobody sends")
                time.sleep(warm_s)
                pids, before = _pids(cwd, environ), receiver.spans
                return _Costs(_measured(pids, seconds, connection), receiver.spans - before)


def _measured(
    pids: Mapping[str, int], seconds: float, endpoint: http.client.HTTPConnection | None = None
) -> dict[str, float]:
    """What each takes of a core; scrapes count as one in five seconds, however long this is."""
    begun_s, before = time.monotonic(), {name: thread_cpu_ns(pid) for name, pid in pids.items()}
    scrapes = max(1, round(seconds / _SCRAPE_S))
    for number in range(1, scrapes + 1):
        time.sleep(max(0.0, begun_s + (number - 0.5) * seconds / scrapes - time.monotonic()))
        if endpoint is not None:
            scrape(endpoint)
    time.sleep(max(0.0, begun_s + seconds - time.monotonic()))
    took_ns = {name: thread_cpu_ns(pid) - before[name] for name, pid in pids.items()}
    took_s = time.monotonic() - begun_s
    windows_s = dict.fromkeys(pids, took_s) | {"prometheus": scrapes * _SCRAPE_S}
    return {name: ns / windows_s[name] / 1e7 for name, ns in took_ns.items()}


def _pids(cwd: Path, environ: dict[str, str]) -> dict[str, int]:
    """The collector and its sidecars, those that run."""
    status: dict[str, Any] = json.loads(run_python(_STATUS, cwd, environ))
    found = {name: sidecar["pid"] for name, sidecar in status["sidecars"].items()}
    found["collector"] = status["collector"]["pid"]
    return {name: pid for name, pid in found.items() if pid is not None}


@contextmanager
def _calling(cwd: Path, environ: dict[str, str]) -> Iterator[None]:
    """A program that calls all the while."""
    command = [sys.executable, str(PROGRAMS / "paced.py"), str(_TOOLS), str(_PER_S)]
    with subprocess.Popen(command, cwd=cwd, env=environ, stdout=subprocess.PIPE) as program:
        try:
            if program.stdout is None or not program.stdout.readline():
                raise RuntimeError("the program does not call")
            yield
        finally:
            program.kill()


# --- a receiver -----------------------------------------------------------------------------------


class _Receiver(ThreadingHTTPServer):
    """Acknowledges everything and counts spans."""

    daemon_threads = True
    spans = 0


class _Acknowledging(BaseHTTPRequestHandler):
    server: _Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Take it."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        # The same words in each span, and nowhere else.
        self.server.spans += body.count(_OF_A_SPAN)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def _receiver() -> Iterator[_Receiver]:
    found = _Receiver(("127.0.0.1", 0), _Acknowledging)
    thread = threading.Thread(target=found.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield found
    finally:
        found.shutdown()
        thread.join()
        found.server_close()
