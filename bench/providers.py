"""
Providers of tools: real functions of different cost and reliability, called through tracking.

``python -m bench.providers FILE SEED`` is a worker process: it tracks the providers that the file
lists and does what its standard input says, a JSON array a line:

    ["warm", n]      call every provider n times         → true
    ["call", name]   call one                            → [succeeded, seconds]
    ["break", name]  from now on every call of it fails  → true

What is drawn at random, and so synthetic: which kind of work a provider does, how much of it, and
how often it fails. The work, its duration and the exceptions are real.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import sqlite3
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import msgspec

import shmperf

__all__ = ["KINDS", "Provider", "draw_providers"]

# About 50 µs of work each, as often as a provider says.
_NUMBERS = [math.sin(n) for n in range(400)]
_BYTES = bytes(range(256)) * 128
_TEXT = json.dumps([{"id": n, "name": f"name {n}", "tags": ["a", "b"]} for n in range(40)])
_LEAST, _MOST = 2, 100
_FLAKY = 0.3


class Provider(msgspec.Struct, frozen=True, array_like=True):
    """One of several functions that do what a tool promises."""

    name: str
    tool: str
    kind: str
    repeats: int
    failure_rate: float


def draw_providers(tools: list[str], count: int, rng: random.Random) -> list[Provider]:
    """*count* providers of each tool; three of ten are flaky, and the slowest 50 times as slow."""
    found = []
    for tool in tools:
        for number in range(count):
            repeats = round(math.exp(rng.uniform(math.log(_LEAST), math.log(_MOST))))
            rate = rng.uniform(0.2, 0.7) if rng.random() < _FLAKY else rng.uniform(0.0, 0.05)
            kind = rng.choice(list(KINDS))
            found.append(Provider(f"{tool}@{number}", tool, kind, repeats, rate))
    return found


# --- real work, and real ways to fail ------------------------------------------------------------


def _sort(fails: bool) -> object:
    return sorted([*_NUMBERS, None] if fails else _NUMBERS)  # type: ignore[type-var]


def _hash(fails: bool) -> object:
    return hashlib.new("no such hash" if fails else "sha256", _BYTES).digest()


def _parse(fails: bool) -> object:
    return json.loads(_TEXT[:-1] if fails else _TEXT)


def _compress(fails: bool) -> object:
    return zlib.decompress(b"none") if fails else zlib.compress(_BYTES[:4096])


def _query(fails: bool) -> object:
    table = "nowhere" if fails else "sale"
    return _database().execute(f"SELECT sum(price * amount) FROM {table}").fetchone()  # noqa: S608


def _database() -> sqlite3.Connection:
    if not _open:
        _open.append(sqlite3.connect(":memory:"))
        _open[0].execute("CREATE TABLE sale (price REAL, amount INTEGER)")
        _open[0].executemany("INSERT INTO sale VALUES (?, ?)", [(n, n % 7) for n in range(500)])
    return _open[0]


_open: list[sqlite3.Connection] = []
KINDS: dict[str, Callable[[bool], object]] = {
    "sort": _sort,
    "hash": _hash,
    "parse": _parse,
    "compress": _compress,
    "query": _query,
}


# --- a worker process ----------------------------------------------------------------------------


class _Worker:
    def __init__(self, providers: list[Provider], rng: random.Random) -> None:
        self._rng = rng
        self._broken: set[str] = set()
        self._functions = {one.name: shmperf.track(one.name)(self._made(one)) for one in providers}

    def do(self, what: str, subject: str | int) -> object:
        if what == "warm":
            for name in self._functions:
                for _ in range(int(subject)):
                    self._call(name)
        elif what == "break":
            self._broken.add(str(subject))
        else:
            return self._call(str(subject))
        return True

    def _call(self, name: str) -> tuple[bool, float]:
        began_s = time.perf_counter()
        try:
            self._functions[name]()
        except Exception:  # noqa: BLE001  whatever the work raises
            return False, time.perf_counter() - began_s
        return True, time.perf_counter() - began_s

    def _made(self, provider: Provider) -> Callable[[], None]:
        work = KINDS[provider.kind]

        def provide() -> None:
            if provider.name in self._broken:
                work(True)
            fails = self._rng.random() < provider.failure_rate
            for _ in range(provider.repeats):
                work(False)
            if fails:
                # As a service does that fails when its time is spent.
                work(True)

        return provide


def main() -> None:
    """Serve standard input until it ends."""
    path, seed = sys.argv[1:]
    providers = msgspec.json.decode(Path(path).read_bytes(), type=list[Provider])
    worker = _Worker(providers, random.Random(seed))  # noqa: S311  no secret
    for line in sys.stdin:
        print(json.dumps(worker.do(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
