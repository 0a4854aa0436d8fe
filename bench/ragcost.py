"""What facts in a tool store cost: time until they are there, queries, the collector."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from shmperf.analysis.perfstate import PerfState
from shmperf.analysis.totals import Totals
from shmperf.rag import NewArtifact, ToolStore, rank
from shmperf.session.client import Client
from shmperf.session.messages import Ping, Status
from shmperf.session.rendezvous import session_of_storage
from shmperf.session.session import Session

from .measure import PROGRAMS, Row, cpu_s, private_place, row_of, wait_until

__all__ = ["collector_share", "queries_per_second", "time_to_store"]

_DIMENSIONS = 384
_TOOLS = 200


def time_to_store(*, quick: bool) -> list[Row]:
    """From a call's end to its place in the store, with the sink running; wall time."""
    found = []
    with private_place() as (place, environ):
        path = place / "perf_data/tools.db"
        with ToolStore(path) as store:
            store.put("tool0", "tool0", "what it does")
            with _program(place, environ, 1, 0) as program:
                # The first brings the sink up, which is no part of it.
                for count in range(1, 4 if quick else 12):
                    _call(program)
                    began_s = time.perf_counter()
                    if not wait_until(lambda count=count: _count(store) == count, 20.0):
                        raise RuntimeError("a call has not arrived in the store")
                    found.append(time.perf_counter() - began_s)
                    # Not in step with the sink.
                    time.sleep(random.uniform(0.3, 1.5))  # noqa: S311  no secret
    return [row_of("from a call to the store, sink running", found[1:], "s", target=2.0)]


def _count(store: ToolStore) -> object:
    return store.read_perf(["tool0"]).get("tool0", {}).get("call_count")


def queries_per_second(*, quick: bool) -> list[Row]:
    """Search by vector and ranking of ten, facts from the store; vectors are random ones."""
    rows = []
    for count in (1_000, 10_000):
        with private_place() as (place, _):
            rows.append(_queries(place / "tools.db", count, 3 if quick else 10))
    return rows


def _queries(path: Path, count: int, rounds: int) -> Row:
    chance = np.random.default_rng(count)
    vectors = chance.standard_normal((count, _DIMENSIONS)).astype("float32")
    now_s = time.time()
    with ToolStore(path) as store:
        store.put_many(
            NewArtifact(f"tool{n}", f"tool{n}", f"what {n} does", embedding=vector.tolist())
            for n, vector in enumerate(vectors)
        )
        store.update_perf({f"tool{n}": _summary(n, now_s) for n in range(count)})
        asked = [vectors[n].tolist() for n in chance.integers(0, count, 50)]
        rates = []
        rank(store.search(asked[0], 10), live=False)
        for _ in range(rounds):
            began_s = time.perf_counter()
            for vector in asked:
                rank(store.search(vector, 10), live=False)
            rates.append(len(asked) / (time.perf_counter() - began_s))
    return row_of(f"search and rank, {count:,} tools", rates, "queries/s")


def _summary(number: int, now_s: float) -> dict[str, object]:
    totals, state = Totals(), PerfState(600.0)
    totals.add([1_000_000 * (1 + number % 50)] * 20, number % 4, round(now_s * 1e9))
    state.add(totals, now_s)
    return state.summary()


def collector_share(*, quick: bool) -> list[Row]:
    """CPU time of the collector and of the sink under a steady flow of calls, sink on and off."""
    rounds, seconds, per_s = (1, 3.0, 5_000) if quick else (3, 5.0, 5_000)
    found: dict[str, list[float]] = {"on": [], "off": [], "sink": []}
    for number in range(2 * rounds):
        # There and back: on off off on.
        how = ("on", "off", "off", "on")[number % 4]
        collector, sink = _shares(how, seconds, per_s)
        found[how].append(100 * collector)
        if sink is not None:
            found["sink"].append(100 * sink)
    flow = f"{per_s:,} calls/s of {_TOOLS} tools"
    return [
        row_of(f"collector, sink off, {flow}", found["off"], "% of a core"),
        row_of(f"collector, sink on, {flow}", found["on"], "% of a core"),
        row_of(f"the sink's own process, {flow}", found["sink"], "% of a core"),
    ]


def _shares(how: str, seconds: float, per_s: int) -> tuple[float, float | None]:
    with private_place() as (place, environ):
        if how == "on":
            with ToolStore(place / "perf_data/tools.db") as store:
                store.put_many(
                    NewArtifact(f"tool{n}", f"tool{n}", "what it does") for n in range(_TOOLS)
                )
        with _program(place, environ, _TOOLS, per_s) as program:
            assert program.stdout is not None
            program.stdout.readline()
            session = _session(place / "perf_data")
            client = Client(session.directory)
            collector = int(client.ask(Ping(), 10.0))
            sink = _sink_pid(client) if how == "on" else None
            before = (cpu_s(collector), cpu_s(sink) if sink else 0.0, time.monotonic())
            time.sleep(seconds)
            after = (cpu_s(collector), cpu_s(sink) if sink else 0.0, time.monotonic())
    passed_s = after[2] - before[2]
    share = (after[1] - before[1]) / passed_s if sink else None
    return (after[0] - before[0]) / passed_s, share


def _session(storage: Path) -> Session:
    found: list[Session] = []

    def look() -> bool:
        session = session_of_storage(storage)
        if session is not None and session.has_collector():
            found.append(session)
        return bool(found)

    if not wait_until(look, 20.0):
        raise RuntimeError("no collector came up")
    return found[0]


def _sink_pid(client: Client) -> int:
    found: dict[str, Any] = {}

    def has_sent() -> bool:
        found.update(client.ask(Status(), 10.0)["rag"] or {})
        return bool(found.get("pid") and found.get("sent"))

    if not wait_until(has_sent, 20.0):
        raise RuntimeError("no sink came up")
    return int(found["pid"])


@contextlib.contextmanager
def _program(
    place: Path, environ: Mapping[str, str], tools: int, per_s: int
) -> Iterator[subprocess.Popen[str]]:
    program = subprocess.Popen(
        [sys.executable, str(PROGRAMS / "paced.py"), str(tools), str(per_s)],
        cwd=place,
        env=dict(environ),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield program
    finally:
        program.terminate()
        program.wait(30)
        for stream in (program.stdin, program.stdout):
            assert stream is not None
            stream.close()


def _call(program: subprocess.Popen[str]) -> None:
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("\n")
    program.stdin.flush()
    if not program.stdout.readline():
        raise RuntimeError("the program has died")
