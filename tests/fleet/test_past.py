"""Answers from what was collected: by SQL, and as the statistics of a time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from random import Random
from typing import Any

import msgspec
import pytest

from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.totals import Totals
from shmperf.fleet.engine import Message
from shmperf.fleet.wire import encode, message_id, subject_of
from shmperf.storage.outbox import totals_lines
from tests.support import DEADLINE_S, Place, assert_books_balance, outputs

from .broker import Broker, needs_broker

needs_broker()


BEGAN_S = 1_789_999_980
STAMP = "2027-01-15T08:00:00.000000+00:00"


def _failed(number: int) -> dict[str, str]:
    """Of ten calls five fail, of two causes; of one of them more is recorded."""
    if number >= 5:
        return {}
    found = {"status": "error", "err": "OSError" if number < 3 else "KeyError"}
    return found if number < 3 else found | {"fingerprint": "f00d", "error": "no such city"}


def _lines(node: str) -> tuple[list[bytes], Totals]:
    """What a node's outbox has: calls, and totals of ten intervals; those totals in one."""
    whole, lines = Totals(), []
    random = Random(node)  # noqa: S311  no secret
    for number in range(10):
        totals = Totals()
        durations = [random.randrange(10**9) for _ in range(5)]
        ended_ns = (BEGAN_S + 30 * number + 30) * 10**9
        totals.add(durations, number % 2, ended_ns)
        whole.merge(totals)
        tools = {"search": IntervalTotals.of(totals)}
        lines += totals_lines((BEGAN_S + 30 * number) * 10**9, tools).splitlines()
        data = {"p": "{}", "d": durations[0] / 1e9, "id": f"{number + 1:016x}", **_failed(number)}
        call = {"kind": "call", "tool": "search", "timestamp": STAMP, "data": data}
        lines.append(json.dumps(call, separators=(",", ":")).encode())
    return lines, whole


@pytest.fixture
def asker(broker: Broker, place: Place) -> Place:
    """Where what two nodes have published was collected."""
    engine = broker.connect()
    stream = engine.open()
    for number, node in enumerate(("alpha", "beta"), 1):
        lines, _ = _lines(node)
        origin = bytes(15) + bytes([number])
        subject = subject_of("shmperf", node, stream.partitions)
        message = Message(
            subject, message_id(origin, 1, len(lines)), encode(node, origin, 1, lines)
        )
        engine.publish(message).result(DEADLINE_S)
    words = ("--until-empty", "--into", "kept", "--every", "1", "--url", broker.url)
    place.shmperf("fleet", "collect", *words)
    return place


def _refusal(place: Place, *words: str) -> str:
    program = place.start_module("fleet", *words)
    _, error = outputs(program)
    assert program.returncode == 1
    assert error.count("\n") == 1
    return error


def test_what_was_collected_can_be_asked_in_sql(asker: Place) -> None:
    """Calls, totals and alerts are tables, of all nodes together."""

    def sql(query: str) -> Any:
        return json.loads(asker.shmperf("fleet", "sql", "--from", "kept", "--json", query))

    assert sql("SELECT node, tool, count(*) AS n FROM calls GROUP BY ALL ORDER BY ALL") == [
        {"node": "alpha", "tool": "search", "n": 10},
        {"node": "beta", "tool": "search", "n": 10},
    ]
    assert sql("SELECT sum(calls)::BIGINT AS n FROM totals") == [{"n": 100}]
    assert sql("SELECT * FROM alerts") == []
    assert "alpha" in asker.shmperf("fleet", "sql", "--from", "kept", "SELECT node FROM calls")


def test_statistics_of_the_past_are_merged_exactly(asker: Place) -> None:
    """Of all nodes, of one, of a tool, of a time: as if one node had counted all of it."""

    def stats(*words: str) -> Any:
        return json.loads(asker.shmperf("fleet", "stats", "--from", "kept", "--json", *words))

    whole = _lines("alpha")[1]
    whole.merge(_lines("beta")[1])
    expected = json.loads(json.dumps(msgspec.to_builtins(whole.stats("search", 0, 0))))
    found = stats()
    assert_books_balance(found)
    assert found["complete"]
    assert found["tool_stats"]["search"] == expected
    assert [(row["node"], row["total_calls"]) for row in found["nodes"]] == [
        ("alpha", 50),
        ("beta", 50),
    ]
    assert stats("--node", "beta")["total_calls"] == 50
    one = stats("search")
    assert {key: one[key] for key in expected} == expected
    assert [row["errors"] for row in one["nodes"]] == [5, 5]
    third = datetime.fromtimestamp(BEGAN_S + 60, UTC).isoformat()
    assert stats("--since", third)["total_calls"] == 80
    assert stats("--until", third)["total_calls"] == 20
    assert stats("--since", "-1m")["total_calls"] == 0
    assert "2 collected" in asker.shmperf("fleet", "stats", "--from", "kept")


def test_calls_of_the_past_are_asked_like_those_of_now(asker: Place) -> None:
    """The slowest, and failed ones by cause: of all nodes, of one, of a tool, of a time."""

    def ask(*words: str) -> Any:
        return json.loads(asker.shmperf("fleet", *words, "--from", "kept", "--json"))

    slow = ask("slow", "--limit", "100")
    assert [row["duration_s"] for row in slow] == sorted(
        (row["duration_s"] for row in slow), reverse=True
    )
    assert len(slow) == 20
    assert {row["timestamp"] for row in slow} == {STAMP}
    assert ask("slow", "--limit", "3") == slow[:3]
    assert ask("slow", "--node", "beta") == [row for row in slow if row["node"] == "beta"]
    assert ask("slow", "--since", "2027-01-16T00:00:00Z") == []
    assert "search" in asker.shmperf("fleet", "slow", "--from", "kept", "--until", "2028-01-01")
    by_class, by_fingerprint = ask("errors")
    assert (by_class["err"], by_class["count"], by_class["nodes"]) == (
        "OSError",
        6,
        {"alpha": 3, "beta": 3},
    )
    assert (by_fingerprint["fingerprint"], by_fingerprint["nodes"]) == (
        "f00d",
        {"alpha": 2, "beta": 2},
    )
    assert by_fingerprint["sample"] == "no such city"
    (one,) = ask("errors", "--node", "alpha", "--limit", "1")
    assert (one["count"], one["nodes"]) == (3, {"alpha": 3})
    assert ask("errors", "--until", "2027-01-01") == []


def test_what_was_not_collected_is_said_in_one_line(asker: Place) -> None:
    """Tools and nodes that are near, places where nothing lies, times that are none."""
    from_kept = ("stats", "--from", "kept")
    assert "did you mean 'search'?" in _refusal(asker, *from_kept, "serach")
    assert "did you mean 'alpha'?" in _refusal(asker, *from_kept, "--node", "alpah")
    assert "expected an ISO time" in _refusal(asker, *from_kept, "--since", "yesterday")
    assert "nothing was collected there" in _refusal(asker, "stats", "--from", "nowhere")
    for verb in ("stats", "slow", "errors"):
        assert "need --from" in _refusal(asker, verb, "--since", "-1h")
    for verb in ("slow", "errors"):
        assert "did you mean 'search'?" in _refusal(asker, verb, "--from", "kept", "serach")
        assert "did you mean 'beta'?" in _refusal(asker, verb, "--from", "kept", "--node", "betta")
    assert _refusal(asker, "sql", "--from", "kept", "SELECT nothing")
    assert _refusal(asker, "sql", "--from", "kept", "SELECT * FROM read_text('/etc/passwd')")
