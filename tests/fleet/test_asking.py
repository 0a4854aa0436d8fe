"""Answers of all nodes, by what lies at a real broker: merged, aged by its clock, never half."""

from __future__ import annotations

import json
import os

import pytest

from shmperf.analysis.stats import plain
from shmperf.fleet.asking import Look, States
from shmperf.fleet.engine import Engine
from shmperf.fleet.ownkey import OwnKey, OwnState
from shmperf.fleet.pieces import LARGEST_BYTES, head_of, whole
from shmperf.fleet.snapshot import Snapshot, bounded, encode
from shmperf.fleet.wire import key_of
from shmperf.testing import assert_books_balance
from tests.support import Place, outputs

from .broker import Broker, needs_broker
from .saying import Made, snapshot_of

needs_broker()

ORIGINS = [f"{number:032x}" for number in range(1, 5)]
CALLS = [Made(number, "search", number * 1000) for number in range(1, 5)]


def _said(engine: Engine, snapshot: Snapshot) -> OwnState:
    node = snapshot.node
    state = OwnState(engine, "nodes", key_of(node.name, bytes.fromhex(node.origin)))
    state.put(encode(bounded(snapshot, with_arguments=False)))
    return state


@pytest.fixture
def fleet(broker: Broker) -> Engine:
    """A fleet of three nodes, one of which had an error."""
    engine = broker.connect()
    engine.open()
    _said(engine, snapshot_of(CALLS, "a", ORIGINS[0]))
    _said(engine, snapshot_of(CALLS[:2], "b", ORIGINS[1]))
    broken = [*CALLS, Made(9, "fetch", 7, "search", "ValueError"), Made(10, "x", 1, is_lost=True)]
    _said(engine, snapshot_of(broken, "c", ORIGINS[2]))
    return engine


def test_the_books_are_the_sum_of_the_nodes_own(fleet: Engine) -> None:
    """Calls, errors and losses of all nodes, and they balance; each node's own, too."""
    stats = plain(States(fleet).look().stats())
    assert_books_balance(stats)
    assert (stats["total_calls"], stats["begun"], stats["lost"]) == (11, 12, {"ring_full": 1})
    assert stats["tool_stats"]["search"]["count"] == 10
    assert stats["tool_stats"]["search"]["max_size"] == 300
    assert [row["node"] for row in stats["nodes"]] == ["a", "b", "c"]
    assert sum(row["begun"] for row in stats["nodes"]) == stats["begun"]
    for row in stats["nodes"]:
        assert_books_balance(row)
        assert row["state"] == "up"
        assert 0 <= row["age_s"] < 30


def test_only_what_has_changed_is_read_again(fleet: Engine) -> None:
    """Who looks again has each node's last word, and those that said nothing new stay."""
    states = States(fleet)
    before = states.look()
    _said(fleet, snapshot_of(CALLS * 2, "b", ORIGINS[1]))
    after = states.look()
    assert (before.merged.totals["search"].count, after.merged.totals["search"].count) == (10, 16)
    assert states.look().merged.totals["search"].count == 16


def test_a_state_in_pieces_is_read_whole(broker: Broker) -> None:
    """What is too large for one value is put in several, and again in fewer."""
    engine = broker.connect()
    engine.open()
    state = OwnState(engine, "nodes", "a.01")
    for size in (3 * LARGEST_BYTES, 2 * LARGEST_BYTES, 10):
        content = os.urandom(size)
        state.put(content)
        found = engine.get("nodes", "a.01")
        assert found is not None

        def piece(key: str) -> bytes | None:
            value = engine.get("nodes", key)
            return None if value is None else value.value

        assert whole("a.01", head_of(found.value), piece) == content
    assert OwnState(engine, "nodes", "a.01").strangers == 0


def test_two_writers_of_one_key_are_told(broker: Broker) -> None:
    """A revision that a node has not written is somebody else's; its own lost answer is not."""
    engine = broker.connect()
    engine.open()
    ours, theirs = OwnKey(engine, "facts", "a.01"), OwnKey(engine, "facts", "a.01")
    ours.put(b"1")
    theirs.put(b"2")
    assert (ours.strangers, theirs.strangers) == (0, 0)
    ours.put(b"3")
    assert (ours.strangers, theirs.strangers) == (1, 0)
    # As if the answer to this one had been lost.
    engine.put("facts", "a.01", b"4")
    ours.put(b"4")
    assert ours.strangers == 1


def test_a_value_that_is_none_of_ours_is_told(fleet: Engine) -> None:
    """A node whose state can't be read has a row that says so, and the others their answer."""
    fleet.put("nodes", f"d.{ORIGINS[3]}", b"nonsense")
    look = States(fleet).look()
    row = look.rows[-1]
    assert (row.node, row.state) == ("d", "unreadable")
    assert "found no head" in (row.problem or "")
    assert look.merged.totals["search"].count == 10
    assert not look.stats().complete


def test_two_storages_of_one_name_are_told_while_both_live(fleet: Engine) -> None:
    """One after the other is fine; both at once is somebody's mistake."""
    again = snapshot_of(CALLS, "a", ORIGINS[3])
    again.node.is_over = True
    _said(fleet, again)
    assert {row.problem for row in States(fleet).look().rows} == {None}
    again.node.is_over = False
    _said(fleet, again)
    told = [row.problem for row in States(fleet).look().rows if row.node == "a"]
    assert told == ["2 storages publish under this name now"] * 2


def _aged(look: Look, states: States, by_s: float) -> Look:
    """The same, if the nodes had said nothing for so long."""
    for known in states._known.values():  # the broker's clock can't be set
        known.written_ns -= int(by_s * 1e9)
    return states.look()


def test_who_is_gone_stays_in_the_statistics(fleet: Engine) -> None:
    """A node's books are history; its row says that it is silent, and then gone."""
    states = States(fleet)
    look = states.look()
    assert look.stats().complete
    for by_s, state in ((40, "silent"), (300, "gone")):
        look = _aged(look, states, by_s)
        assert {row.state for row in look.rows} == {state}
        assert look.stats().total_calls == 11
        assert not look.stats().complete


def _ask(place: Place, broker: Broker, *words: str) -> object:
    return json.loads(place.shmperf("fleet", *words, "--url", broker.url, "--json"))


def test_the_command_answers(place: Place, broker: Broker, fleet: Engine) -> None:
    """Each verb has JSON for programs, and tables for people."""
    stats = _ask(place, broker, "stats")
    assert isinstance(stats, dict)
    assert (stats["total_calls"], len(stats["nodes"])) == (11, 3)
    one = _ask(place, broker, "stats", "search")
    assert isinstance(one, dict)
    assert [(row["node"], row["count"]) for row in one["nodes"]] == [("a", 4), ("b", 2), ("c", 4)]
    of_b = _ask(place, broker, "stats", "--node", "b")
    assert isinstance(of_b, dict)
    assert of_b["total_calls"] == 2
    (group,) = list(_ask(place, broker, "errors"))  # type: ignore[call-overload]  # a list, by contract
    assert (group["tool"], group["nodes"]) == ("fetch", {"c": 1})
    slow = list(_ask(place, broker, "slow", "--limit", "2"))  # type: ignore[call-overload]  # the same
    assert [call["node"] for call in slow] == ["c", "a"]
    for verb in ("stats", "tree", "slow", "errors", "nodes"):
        out = place.shmperf("fleet", verb, "--url", broker.url)
        assert out.strip()
        assert "\x1b" not in out


def test_what_is_not_there_is_said_in_one_line(place: Place, broker: Broker) -> None:
    """An unknown tool or node names what is near; so does a fleet that is none."""
    here = {"SHMPERF_FLEET_URL": broker.url}
    program = place.start_module("fleet", "stats")
    assert "name its servers with --url" in (program.communicate()[1] or "")
    program = place.start_module("fleet", "stats", **here)
    assert "no node has published in shmperf yet" in (program.communicate()[1] or "")
    engine = broker.connect()
    engine.open()
    _said(engine, snapshot_of(CALLS, "node-1", ORIGINS[0]))
    for words, said in (
        (("stats", "serach"), "did you mean 'search'?"),
        (("slow", "serach"), "did you mean 'search'?"),
        (("stats", "--node", "node-2"), "did you mean 'node-1'?"),
    ):
        program = place.start_module("fleet", *words, **here)
        assert said in (program.communicate()[1] or "")
        assert program.returncode == 1
    program = place.start_module("fleet", "stats", "--url", "http://x")
    assert program.communicate()[1].count("\n") == 1
    assert program.wait() == 1
    program = place.start_module("fleet")
    program.communicate()
    assert program.returncode == 2


def test_a_node_that_is_gone_for_good_can_be_forgotten(
    fleet: Engine, broker: Broker, place: Place
) -> None:
    """Its storages that are alive stay; all others leave the answers, and their keys the broker."""
    ended = snapshot_of(CALLS, "a", ORIGINS[3])
    ended.node.is_over = True
    _said(fleet, ended)
    said = place.shmperf("fleet", "forget", "a", "--url", broker.url)
    assert said == f"a: 1 of its storages forgotten, with {len(CALLS)} calls\n"
    rows = States(fleet).look().rows
    assert [(row.node, row.origin) for row in rows] == list(zip("abc", ORIGINS, strict=False))
    assert not [one.key for one in fleet.entries("nodes").entries if ORIGINS[3] in one.key]
    for node, why in (("a", "is alive"), ("d", "has not published")):
        program = place.start_module("fleet", "forget", node, "--url", broker.url)
        _, error = outputs(program)
        assert program.returncode == 1
        assert why in error


def test_a_storage_that_has_another_name_now_counts_once(fleet: Engine) -> None:
    """Its history is told under both; only where both go on at once are they two."""
    before = snapshot_of(CALLS, "renamed", ORIGINS[3])
    before.node.is_over = True
    _said(fleet, before)
    states = States(fleet)
    calls = states.look().stats().total_calls
    _said(fleet, snapshot_of(CALLS, "now", ORIGINS[3]))
    look = states.look()
    assert look.stats().total_calls == calls
    assert [row.node for row in look.rows] == ["a", "b", "c", "now"]
    _said(fleet, snapshot_of(CALLS[:1], "copy", ORIGINS[3]))
    assert [row.node for row in states.look().rows] == ["a", "b", "c", "copy", "now"]


def test_what_nodes_say_can_be_asked_in_sql(fleet: Engine, broker: Broker, place: Place) -> None:
    """Nodes and tools as tables, whose histograms add up over nodes."""
    query = (
        "SELECT node, calls, state, lost FROM tools JOIN nodes USING (node, origin) "
        "WHERE tool = 'search' ORDER BY node"
    )
    rows = json.loads(place.shmperf("fleet", "sql", "--url", broker.url, "--json", query))
    assert [(row["node"], row["calls"], row["lost"]) for row in rows] == [
        ("a", 4, 0),
        ("b", 2, 0),
        ("c", 4, 1),
    ]
    assert {row["state"] for row in rows} == {"up"}
    whole = "SELECT sum(calls) AS calls, percentile(list(histogram), 0.5) AS ms FROM tools"
    (row,) = json.loads(place.shmperf("fleet", "sql", "--url", broker.url, "--json", whole))
    assert row["calls"] == 11
    assert 0 < row["ms"] < 1
