"""
What a call costs in all at everyday rates: in its worker, and in whoever collects beside it.

Flat out the background's work is shared by many calls; at a thousand a second over two hundred
tools each call has to pay for a share of what is done now and then: waking up, looking at rings,
writing a frame, appending to a file. So this counts all CPU of all processes, above the same loop
around bare tools, at a steady rate, and that of peers with their own background work beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

import msgspec

from shmperf.compiled.chosen import hot

from .measure import PROGRAMS, Row, private_place, ratio, row_of
from .peers import PEERS, installed

__all__ = ["everyday"]

_IDLE_S = 10.0


class _Cell(NamedTuple):
    """Calls a second over so many tools, from so many workers together."""

    rate: int
    tools: int
    workers: int

    def __str__(self) -> str:
        tools = "1 tool" if self.tools == 1 else f"{self.tools} tools"
        workers = "1 worker" if self.workers == 1 else f"{self.workers} workers"
        return f"{self.rate:,} calls/s over {tools}, {workers}"


class _Cost(msgspec.Struct):
    """Nanoseconds of CPU for so many calls: the programs' own, and what they share."""

    calls: int
    own_ns: int
    shared_ns: int
    s: float


# What the targets speak of: this share of OpenTelemetry's cost, and half more for many workers.
_SHARES = (0.4, 0.25, 0.1) if hot is None else (0.15, 0.08, 0.03)
_TARGETS = {
    _Cell(rate, tools, workers): share * (1.0 if workers == 1 else 1.5)
    for (rate, tools), share in zip(((1_000, 200), (5_000, 200), (20_000, 1)), _SHARES, strict=True)
    for workers in (1, 16)
}
_CELLS = [
    _Cell(rate, tools, workers)
    for rate in (100, 1_000, 5_000, 20_000)
    for tools in (1, 20, 200)
    for workers in (1, 16)
]


def everyday(*, quick: bool) -> list[Row]:
    """The rows."""
    peers = installed(["opentelemetry"] if quick else ["opentelemetry", "prometheus"])
    cells = [_Cell(1_000, 200, 1)] if quick else _CELLS
    rows = [_idle()]
    for cell in cells:
        rounds = 1 if quick or cell not in _TARGETS else 3
        rows += _rows(cell, peers, rounds, 2.0 if quick else 5.0)
    return rows


def _rows(cell: _Cell, peers: list[str], rounds: int, seconds: float) -> list[Row]:
    systems = ["nothing", "shmperf", *peers]
    found: dict[str, list[_Cost]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name in systems:
            found[name].append(_cost(name, cell, seconds))
        systems.reverse()
    bare = [cost.own_ns / cost.calls for cost in found["nothing"]]
    above = {
        name: [
            # A peer that costs less than the loop's noise costs something all the same.
            max(0.001, ((cost.own_ns + cost.shared_ns) / cost.calls - loop) / 1000)
            for cost, loop in zip(costs, bare, strict=True)
        ]
        for name, costs in found.items()
        if name != "nothing"
    }
    shares = [cost.shared_ns / cost.s / 1e7 for cost in found["shmperf"]]
    rows = [
        row_of(f"{cell}: all CPU", above["shmperf"], "µs a call"),
        row_of(f"{cell}: the collector", shares, "% of a core"),
    ]
    for name in peers:
        target = _TARGETS.get(cell) if name == "opentelemetry" else None
        rows.append(row_of(f"{cell}: all CPU of {PEERS[name]}", above[name], "µs a call"))
        rows.append(
            ratio(f"{cell}: all CPU ÷ {PEERS[name]}", above["shmperf"], above[name], target)
        )
    return rows


def _cost(name: str, cell: _Cell, seconds: float) -> _Cost:
    """What one system's programs cost, all that there are together."""
    with private_place() as (cwd, environ):
        figures = cwd / "figures"
        figures.mkdir()
        environ["PROMETHEUS_MULTIPROC_DIR"] = str(figures)
        rate = cell.rate / cell.workers
        programs = []
        for number in range(cell.workers):
            arguments = [name, rate, cell.tools, seconds, int(number == 0)]
            command = [sys.executable, str(PROGRAMS / "steady.py"), *map(str, arguments)]
            program = subprocess.Popen(command, cwd=cwd, env=environ, stdout=subprocess.PIPE)
            programs.append(program)
        told = [program.communicate(timeout=300)[0] for program in programs]
    costs = [msgspec.json.decode(text, type=_Cost) for text in told]
    return _Cost(
        calls=sum(cost.calls for cost in costs),
        own_ns=sum(cost.own_ns for cost in costs),
        shared_ns=sum(cost.shared_ns for cost in costs),
        s=max(cost.s for cost in costs),
    )


def _idle() -> Row:
    """The collector's whole process while nobody calls anything."""
    with private_place() as (cwd, environ):
        command = [sys.executable, str(PROGRAMS / "waiting.py"), str(_IDLE_S)]
        done = subprocess.run(command, cwd=cwd, env=environ, stdout=subprocess.PIPE, check=True)
    return Row(
        name="idle: the collector's process",
        value=json.loads(done.stdout),
        unit="% of a core",
        target=0.3,
    )
