"""Whole nodes: real sessions of one machine as a fleet, with their publishers and a real broker."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from shmperf.rag import ToolStore
from shmperf.storage.origin import origin_of
from shmperf.storage.outbox import outbox_of
from tests.support import Place, assert_books_balance, outputs, place_in, wait_until

from .broker import Broker, needs_broker

needs_broker()

QUERY = "the weather of a city"


class Nodes:
    """Places that publish to one broker, each under its name."""

    def __init__(self, broker: Broker, directory: Path, stack: ExitStack) -> None:
        self.broker = broker
        self._directory = directory
        self._stack = stack

    def node(self, name: str, options: str = "") -> Place:
        cwd = self._directory / name
        cwd.mkdir()
        # Short enough for a socket.
        runtime = self._stack.enter_context(TemporaryDirectory(prefix="sp-", dir="/tmp"))
        place = self._stack.enter_context(place_in(cwd, Path(runtime)))
        place.write(
            "config/tool_perf_limits.yaml",
            f"fleet: {{url: '{self.broker.url}', node: {name}{options}}}\n",
        )
        return place

    def ask(self, place: Place, *words: str) -> Any:
        """What a verb of `fleet` says, in JSON; None while no node has published."""
        program = place.start_module("fleet", *words, "--json", "--url", self.broker.url)
        out, error = outputs(program)
        if program.returncode:
            assert "no node has published" in error, error
            return None
        return json.loads(out)


@pytest.fixture
def nodes(broker: Broker, tmp_path: Path) -> Iterator[Nodes]:
    with ExitStack() as stack:
        yield Nodes(broker, tmp_path, stack)


class Agent:
    """A program with two tools that do the same, each as well as it is told."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.process: subprocess.Popen[str] = place.start_program("rank/agent")

    def call(self, tool: str, how: str, count: int) -> None:
        """Call a tool so many times, from now on so behaving."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{tool} {how} {count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline().strip() == "called"

    def end(self) -> None:
        self.place.finish(self.process)
        self.place.wait_for_end()


def test_a_tool_that_broke_on_one_node_is_ranked_down_on_another(nodes: Nodes) -> None:
    """Node a never saw it fail: its ranking, and the summaries in its store, are of all nodes."""
    a, b = nodes.node("a"), nodes.node("b")
    here, there = Agent(a), Agent(b)
    here.call("fetch_weather", "well", 20)
    here.call("weather_report", "well", 5)

    def first() -> str:
        return str(a.ask("rank", QUERY)[0]["name"])

    there.call("weather_report", "well", 1)
    there.call("fetch_weather", "badly", 40)
    broke_s = time.monotonic()
    wait_until(lambda: first() == "weather_report", "node a to avoid what broke on b")
    took_s = time.monotonic() - broke_s
    print(f"avoided after {took_s:.1f} s")
    rows = {row["name"]: row for row in a.ask("rank", QUERY)}
    assert rows["fetch_weather"]["source"] == "fleet"
    assert rows["fetch_weather"]["calls"] == 60
    assert rows["fetch_weather"]["success"] < 0.5

    def summary() -> dict[str, object]:
        with ToolStore(a.storage / "tools.db", create=False) as store:
            return dict(store.read_perf(["fetch_weather"]).get("fetch_weather") or {})

    wait_until(lambda: summary().get("error_count") == 40, lambda: f"a summary: {summary()}")
    assert summary()["call_count"] == 60
    for agent in (here, there):
        agent.end()


def test_a_breaker_opens_by_what_breaks_elsewhere(nodes: Nodes) -> None:
    """Whoever ranks with a breaker leaves out what only fails, on whichever node that is."""
    a, b = nodes.node("a"), nodes.node("b")
    ranking = a.start_program("fleet/avoids")
    assert ranking.stdout is not None
    assert ranking.stdout.readline().strip() == "looking"
    there = Agent(b)
    there.call("fetch_weather", "badly", 10)
    told = json.loads(a.finish(ranking))
    assert (told["first"], told["source"]) == ("weather_report", "fleet")
    assert "its last calls have failed" in told["why"]
    there.end()


def test_three_nodes_have_one_answer(nodes: Nodes) -> None:
    """The fleet's books are the sum of the nodes' own, while they run and once they have ended."""
    places = [nodes.node(name) for name in ("a", "b", "c")]
    agents = [Agent(place) for place in places]
    for number, agent in enumerate(agents, 1):
        agent.call("fetch_weather", "well", 10 * number)
        agent.call("weather_report", "badly", number)
    asker = places[0]

    def stats() -> Any:
        found = nodes.ask(asker, "stats")
        return found if found and found["total_calls"] == 66 else None

    found = wait_until(stats, "all calls of all nodes")
    assert_books_balance(found)
    assert found["tool_stats"]["fetch_weather"]["count"] == 60
    assert {row["node"]: row["total_calls"] for row in found["nodes"]} == {
        "a": 11,
        "b": 22,
        "c": 33,
    }
    assert {row["state"] for row in found["nodes"]} == {"up"}
    assert found["workers"] == 3
    (group,) = nodes.ask(asker, "errors")
    assert (group["err"], group["nodes"]) == ("OSError", {"c": 3, "b": 2, "a": 1})
    for agent in agents:
        agent.end()

    def ended() -> Any:
        rows = nodes.ask(asker, "nodes")
        return rows if {row["state"] for row in rows} == {"ended"} else None

    rows = wait_until(ended, lambda: f"the last words: {nodes.ask(asker, 'nodes')}")
    own: Counter[str] = Counter()
    for place, row in zip(places, rows, strict=True):
        stats_of = place.stats()
        assert (row["begun"], row["total_calls"]) == (stats_of["begun"], stats_of["total_calls"])
        own.update(begun=stats_of["begun"], total_calls=stats_of["total_calls"])
    found = nodes.ask(asker, "stats")
    assert_books_balance(found)
    assert (found["begun"], found["total_calls"]) == (own["begun"], own["total_calls"])
    assert found["complete"]
    for place in places:
        place.wait_for_sidecars()
    asker.shmperf("fleet", "collect", "--into", "kept", "--until-empty", "--every", "1")
    for words, told in (
        (("errors",), ("tool", "fingerprint", "status", "err", "count", "first", "last", "nodes")),
        (("slow", "--limit", "5"), ("tool", "id", "node", "duration_s", "status", "params")),
        (("slow", "--node", "b", "--limit", "3", "fetch_weather"), ("tool", "id", "node")),
    ):
        live, past = (
            [{name: row[name] for name in told} for row in nodes.ask(asker, *words, *more)]
            for more in ((), ("--from", "kept"))
        )
        assert past == live, words
        assert past


def test_parameters_leave_a_node_only_where_that_is_asked_for(nodes: Nodes) -> None:
    """Slow calls of all nodes show their parameters with `arguments: true`, secrets never."""
    a, b = nodes.node("a"), nodes.node("b", ", arguments: true")
    for place in (a, b):
        place.run_program("commands/shows_parameters")
        place.wait_for_end()

    def slow() -> dict[str, str]:
        return {one["node"]: one["params"] for one in nodes.ask(a, "slow", "nested") or ()}

    params = wait_until(lambda: len(slow()) == 2 and slow(), "both nodes' calls")
    assert params["a"] == "{}"
    assert '"***"' in params["b"]
    assert "sk-ant" not in params["b"]


def _said(program: subprocess.Popen[str], line: str = "") -> str:
    """What it says next, once it was told *line*."""
    assert program.stdin is not None
    assert program.stdout is not None
    if line:
        program.stdin.write(f"{line}\n")
        program.stdin.flush()
    return program.stdout.readline().strip()


@pytest.mark.parametrize("outbox", ["its first", "begun anew"])
def test_a_call_whose_parent_ran_on_another_node_keeps_it(nodes: Nodes, outbox: str) -> None:
    """Through `traceparent` the graph of what was collected goes from node to node."""
    a, b = nodes.node("a"), nodes.node("b")
    earlier_calls = int(outbox == "begun anew")
    if earlier_calls:
        earlier = a.start_program("fleet/serves")
        a.finish(earlier)
        a.wait_for_end()
        a.wait_for_sidecars()
        shutil.rmtree(outbox_of(a.storage))
    asks, serves = a.start_program("fleet/asks"), b.start_program("fleet/serves")
    under = _said(asks)
    for _ in range(2):
        assert _said(serves, under) == "served"
        under = _said(asks, "answered")
    assert _said(serves, under) == "served"
    for place, program in ((a, asks), (b, serves)):
        place.finish(program)
        place.wait_for_end()
        place.wait_for_sidecars()
    a.shmperf("fleet", "collect", "--into", "kept", "--until-empty", "--every", "1")
    query = "SELECT DISTINCT storage, origin = storage AS first FROM calls WHERE node = 'a'"
    storages = json.loads(a.shmperf("fleet", "sql", "--from", "kept", "--json", query))
    assert {row["storage"] for row in storages} == {origin_of(a.storage).hex()}
    assert {row["first"] for row in storages} == {True, not earlier_calls}
    tree = json.loads(a.shmperf("fleet", "tree", "--from", "kept", "--json"))
    assert {(edge["parent"], edge["tool"]): edge["calls"] for edge in tree} == {
        (None, "outer"): 3,
        ("outer", "handle"): 3,
        ("handle", "serve"): 3,
        (None, "serve"): 1 + earlier_calls,
        ("serve", "look_up"): 4 + earlier_calls,
    }
    times = {(edge["parent"], edge["tool"]): edge for edge in tree}
    handle, serve = times["outer", "handle"], times["handle", "serve"]
    assert handle["own_ns"] <= handle["total_ns"] - serve["total_ns"] + 3_000
    assert serve["total_ns"] > 3_000_000
    assert "serve" in a.shmperf("fleet", "tree", "--from", "kept")
