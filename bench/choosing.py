"""
Choosing tools by policy: who does what was asked, at what price, and how soon it learns of a break.

    world      every tool of a catalogue with several providers, all in one tool store
    warm-up    each provider called a few times by several processes, through shmperf
    run        for each policy, from a copy of that: queries one by one; half-way the providers
               that the policy prefers for the most frequent queries break

A policy sees what `ToolStore.search` gives and what shmperf has measured; nothing of the world.
Only the oracle knows the right tool and how its providers are.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shmperf.rag import (
    CircuitBreaker,
    LiveStatistics,
    NewArtifact,
    ToolStore,
    Weighing,
    rank,
)
from shmperf.rag.toolstore import Embedder
from shmperf.session.client import Client
from shmperf.session.messages import Stats
from shmperf.session.rendezvous import session_of_storage
from shmperf.session.session import Session

from .catalogue import Catalogue, Query
from .measure import wait_until
from .providers import Provider, draw_providers

__all__ = ["BUDGET_S", "POLICIES", "Outcome", "Plan", "choose"]

_PROCESSES = 3
_PROVIDERS = 3
# Candidates: ten tools with their providers.
_CANDIDATES = 30
BUDGET_S = 0.002
_CONFIG = """
default_perf_points: 1
optimization: {trigger_threshold: 0}
ring: {budget_bytes: 33554432}
"""
POLICIES = (
    "similarity alone",
    "additive weights",
    "expected utility",
    "expected utility, breaker",
    "Thompson sampling",
    "oracle",
)


class Plan(NamedTuple):
    """How much is done: calls to warm up, kinds of query, queries, and how many of them break."""

    warm: int = 4
    kinds: int = 60
    queries: int = 400
    breaks: int = 15


class Outcome(msgspec.Struct):
    """What one policy achieved in one world; times in seconds, shares of all queries."""

    success: float
    wrong_tool: float
    seconds_per_success: float
    # Calls of a broken tool for a query, until another is chosen; what share ever recovered.
    wasted_per_break: float
    recovered: float
    # The part of ranking in it, search included.
    choosing_s: float
    calls: int
    lost: int


class _World(NamedTuple):
    place: Path
    environ: Mapping[str, str]
    providers: list[Provider]
    queries: list[Query]
    order: list[int]
    seed: int


def choose(
    catalogue: Catalogue,
    embedder: Embedder,
    plan: Plan,
    seed: int,
    where: tuple[Path, Mapping[str, str]],
    policies: tuple[str, ...] = POLICIES,
) -> dict[str, Outcome]:
    """The outcome of each policy in the world of that seed, made in the directory *where*."""
    rng = random.Random(seed)  # noqa: S311  no secret
    world = _founded(catalogue, embedder, plan, rng, seed, where)
    with _at_work(world, world.place) as workers:
        for worker in workers:
            worker.send("warm", plan.warm)
        for worker in workers:
            worker.receive()
    storage = world.place / "perf_data"
    if not wait_until(lambda: _is_at_rest(storage), 60.0):
        raise RuntimeError("the session of the warm-up does not end")
    found = {}
    for policy in policies:
        place = world.place.with_name(f"{world.place.name}-{policy.replace(' ', '-')}")
        shutil.copytree(world.place, place, ignore=_ignored)
        found[policy] = _run(world, place, policy, embedder, plan)
    return found


def _is_at_rest(storage: Path) -> bool:
    """Everything measured is on disk and in the store: session and sink are gone."""
    return session_of_storage(storage) is None and not (storage / "tools.db-wal").exists()


def _ignored(directory: str, names: list[str]) -> set[str]:
    # Who met there before is of no concern.
    return {name for name in names if directory.endswith(".shmperf") and "session" in name}


def _founded(
    catalogue: Catalogue,
    embedder: Embedder,
    plan: Plan,
    rng: random.Random,
    seed: int,
    where: tuple[Path, Mapping[str, str]],
) -> _World:
    place = where[0] / f"world{seed}"
    (place / "config").mkdir(parents=True)
    (place / "config/tool_perf_limits.yaml").write_text(_CONFIG)
    contents = {tool.name: tool.content for tool in catalogue.tools}
    providers = draw_providers(list(contents), _PROVIDERS, rng)
    # The order in which they are stored must not say which is which.
    rng.shuffle(providers)
    with ToolStore(place / "perf_data/tools.db", embedder) as store:
        store.put_many(NewArtifact(one.name, one.name, contents[one.tool]) for one in providers)
    queries = rng.sample(catalogue.queries, min(plan.kinds, len(catalogue.queries)))
    # Some are asked more often than others.
    weights = [1 / (place + 1) ** 0.6 for place in range(len(queries))]
    order = rng.choices(range(len(queries)), weights, k=plan.queries)
    return _World(place, where[1], providers, queries, order, seed)


# --- processes -----------------------------------------------------------------------------------


class _Process:
    """A worker that has some of the providers."""

    def __init__(self, world: _World, place: Path, number: int) -> None:
        providers = world.providers[number::_PROCESSES]
        file = place / f"providers{number}.json"
        file.write_bytes(msgspec.json.encode(providers))
        self.names = {one.name for one in providers}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.providers", str(file), f"{world.seed}-{number}"],
            cwd=place,
            env=dict(world.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, *message: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a worker process has died")
        return json.loads(line)

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


@contextlib.contextmanager
def _at_work(world: _World, place: Path) -> Iterator[list[_Process]]:
    workers = [_Process(world, place, number) for number in range(_PROCESSES)]
    try:
        yield workers
    finally:
        for worker in workers:
            worker.close()


# --- policies ------------------------------------------------------------------------------------


def _run(world: _World, place: Path, policy: str, embedder: Embedder, plan: Plan) -> Outcome:
    with (
        _at_work(world, place) as workers,
        ToolStore(place / "perf_data/tools.db", embedder, create=False) as store,
    ):
        # So that a collector runs; a call of nothing that anybody chooses.
        for worker in workers:
            worker.send("warm", 0)
            worker.receive()
        chooser = _Chooser(world, policy, store, place / "perf_data")
        return _Tally(world, chooser, workers, plan).play()


class _Chooser:
    """One policy: from a query to the name of a provider."""

    def __init__(self, world: _World, policy: str, store: ToolStore, storage: Path) -> None:
        self.spent_s = 0.0
        self.broken: set[str] = set()
        self._policy = policy
        self._store = store
        self._storage = storage
        self._live: LiveStatistics | None = None
        mode = {"similarity alone": "similarity", "additive weights": "additive"}.get(policy)
        explore = "thompson" if policy == "Thompson sampling" else None
        self._weighing = Weighing(
            mode=mode or "utility", explore=explore, latency_budget_s=BUDGET_S
        )
        self._breaker = CircuitBreaker(failures=3) if policy.endswith("breaker") else None
        self._rng = random.Random(world.seed)  # noqa: S311  no secret
        self._known: dict[str, list[Provider]] = {}
        for one in world.providers:
            self._known.setdefault(one.tool, []).append(one)

    def session(self) -> Session | None:
        return session_of_storage(self._storage)

    def choice(self, query: Query) -> str:
        if self._policy == "oracle":
            return max(self._known[query.tool], key=self._worth).name
        began_s = time.perf_counter()
        if self._live is None:
            session = self.session()
            self._live = None if session is None else LiveStatistics(session)
        candidates = self._store.search(query.text, _CANDIDATES)
        found = rank(
            candidates,
            weighing=self._weighing,
            breaker=self._breaker,
            live=self._live or False,
            rng=self._rng,
        )
        self.spent_s += time.perf_counter() - began_s
        return found[0].name

    def _worth(self, one: Provider) -> float:
        if one.name in self.broken:
            return 0.0
        return (1 - one.failure_rate) * self._weighing.speed(one.repeats * 5e-5)


class _Tally:
    """One policy at work, and what came of it."""

    def __init__(
        self, world: _World, chooser: _Chooser, workers: list[_Process], plan: Plan
    ) -> None:
        self._world = world
        self._chooser = chooser
        self._workers = workers
        self._plan = plan
        self._tool_of = {one.name: one.tool for one in world.providers}
        self._successes = self._wrong = 0
        self._spent_s = 0.0
        self._wasted: dict[int, int] = {}
        self._recovered: set[int] = set()
        self._favourites: dict[int, str] = {}

    def play(self) -> Outcome:
        order = self._world.order
        for place, number in enumerate(order):
            if place == len(order) // 2:
                self._break_favourites()
            self._ask(number)
        breaks = [self._wasted[number] for number in self._wasted]
        return Outcome(
            success=self._successes / len(order),
            wrong_tool=self._wrong / len(order),
            seconds_per_success=self._spent_s / max(1, self._successes),
            wasted_per_break=sum(breaks) / max(1, len(breaks)),
            recovered=len(self._recovered) / max(1, len(breaks)),
            choosing_s=self._chooser.spent_s / len(order),
            calls=len(order),
            lost=self._lost(),
        )

    def _ask(self, number: int) -> None:
        query = self._world.queries[number]
        name = self._chooser.choice(query)
        succeeded, took_s = self._tell("call", name)
        self._spent_s += took_s
        is_right = self._tool_of[name] == query.tool
        self._wrong += not is_right
        self._successes += is_right and succeeded
        if number in self._favourites and number not in self._recovered:
            wasted = self._wasted.setdefault(number, 0)
            if name == self._favourites[number]:
                self._wasted[number] = wasted + 1
            else:
                self._recovered.add(number)

    def _break_favourites(self) -> None:
        """What would be chosen now for the most frequent queries fails from now on."""
        for number in range(min(self._plan.breaks, len(self._world.queries))):
            name = self._chooser.choice(self._world.queries[number])
            self._favourites[number] = name
            self._tell("break", name)
        self._chooser.broken |= set(self._favourites.values())

    def _tell(self, what: str, name: str) -> Any:
        worker = next(one for one in self._workers if name in one.names)
        worker.send(what, name)
        return worker.receive()

    def _lost(self) -> int:
        session = self._chooser.session()
        if session is None:
            return 0
        return sum(Client(session.directory).ask(Stats(), 10.0)["lost"].values())
