"""``inflight``: the calls that are open now, who has called them, and what they are at."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.support import Place, outputs, wait_until


def open_now(place: Place, tool: str, *arguments: str) -> dict[str, Any]:
    """The open call of *tool*, once it has begun."""

    def found() -> dict[str, Any] | None:
        rows = place.ask("inflight", *arguments) if place.sessions() else []
        return next((row for row in rows if row["tool"] == tool), None)

    row: dict[str, Any] = wait_until(found, f"a call of {tool}")
    return row


def test_a_hanging_call_names_its_callers_in_other_processes(place: Place) -> None:
    """The outermost first, as JSON and in a line; once it goes on, nothing is open."""
    fifo = place.cwd / "until"
    os.mkfifo(fifo)
    program = place.start_program("commands/hangs_below", str(fifo))
    row = open_now(place, "hangs")
    assert row["chain"] == ["serves", "asks"]
    assert row["pid"] != program.pid
    assert 0 <= row["running_s"] < 1000
    shown = place.shmperf("inflight")
    assert "serves → asks" in shown
    assert "serves > asks" in place.shmperf("inflight", LC_ALL="C", PYTHONIOENCODING="")
    fifo.write_text("")
    outputs(program)
    place.wait_for_end()
    assert {tool: len(place.lines(tool)) for tool in ("serves", "asks", "hangs")} == {
        "serves": 1,
        "asks": 1,
        "hangs": 1,
    }
    place.stats()


def showing(place: Place, *arguments: str) -> tuple[Any, list[dict[str, Any]]]:
    """The program with open calls of many kinds, and what `inflight` says of it."""
    program = place.start_program("commands/shows_parameters", *arguments)
    assert program.stdout is not None
    assert program.stdout.readline() == "open\n"
    return program, place.ask("inflight")


def test_slow_and_first_calls_show_their_parameters(place: Place) -> None:
    """As the history says once they have ended; of a call of a tool that was fast, nothing."""
    program, rows = showing(place)
    texts = {row["tool"]: row["params"] for row in rows}
    assert json.loads(texts["slow"])["n"] == 17
    assert texts["fast"] is None
    assert json.loads(texts["block"]) == {"q": 2, "token": "***"}
    assert texts["pair"].startswith('{"q":"xxx')
    assert len(texts["pair"]) == 200
    shown = place.shmperf("inflight")
    assert '"n":17' in shown
    outputs(program, "\n")
    place.wait_for_end()
    kept = {tool: place.lines(tool)[-1]["data"] for tool in texts}
    assert {tool: text for tool, text in texts.items() if text is not None} == {
        tool: data["p"] for tool, data in kept.items() if tool != "fast"
    }
    place.stats()


def test_secrets_of_open_calls_are_masked(place: Place) -> None:
    """At any depth, by their names and by how they look: as in the history."""
    program, rows = showing(place)
    (text,) = (row["params"] for row in rows if row["tool"] == "nested")
    found = json.loads(text)
    assert (found["item"], found["password"]) == ({"deep": {"apiKey": "***"}}, "***")
    assert found["text"] == "curl -H ***"
    for out in (place.shmperf("inflight"), place.shmperf("trace", "nested")):
        assert "sk-ant" not in out
    outputs(program, "\n")


def test_a_killed_worker_shows_nothing_any_more(place: Place) -> None:
    """kill -9 with cells in use: its calls are aborted, and the next program shows its own."""
    program, rows = showing(place)
    assert sum(row["params"] is not None for row in rows) == 4
    program.kill()
    outputs(program)
    wait_until(lambda: place.stats()["aborted"] == 5, "the burial")
    assert place.ask("inflight") == []
    program, rows = showing(place)
    assert sum(row["params"] is not None for row in rows) == 4
    outputs(program, "\n")
    place.wait_for_end()
    place.stats()


def test_ten_thousand_open_calls_show_a_thousand_and_then_others(place: Place) -> None:
    """Cells are bounded: the rest of the calls are there without; ended calls make room."""
    program, rows = showing(place, "10000")
    assert len(rows) == 10_000
    texts = [row["params"] for row in rows if row["params"] is not None]
    assert len(texts) == 1024
    assert len({json.loads(text)["n"] for text in texts}) == 1024
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "open\n"
    (row,) = place.ask("inflight")
    assert json.loads(row["params"])["n"] == 10_000
    outputs(program, "\n")
    place.wait_for_end()
    assert place.stats()["tool_stats"]["awaits"]["count"] == 10_001


def test_parameters_are_shown_in_optimization_mode(place: Place) -> None:
    """The same summary, though the record will have all of them; but of what is long, nothing."""
    place.write("config/tool_perf_limits.yaml", "optimization: {enabled: true}\n")
    program, rows = showing(place)
    texts = {row["tool"]: row["params"] for row in rows}
    assert json.loads(texts["slow"])["n"] == 17
    assert json.loads(texts["nested"])["item"] == {"deep": {"apiKey": "***"}}
    assert texts["pair"] is None
    outputs(program, "\n")
