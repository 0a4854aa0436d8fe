"""Programs and tests that patch the standard library: what is recorded is what has happened."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import Place, assert_books_balance


def needs(module: str) -> pytest.MarkDecorator:
    """Skip where *module* is not installed."""
    is_there = importlib.util.find_spec(module) is not None
    return pytest.mark.skipif(not is_there, reason=f"{module} is not installed")


def counts(stats: dict[str, Any]) -> dict[str, int]:
    """The calls of each tool, of which none is open or lost."""
    assert_books_balance(stats)
    assert (stats["in_flight"], stats["aborted"], stats["lost"]) == (0, 0, {})
    return {name: row["count"] for name, row in stats["tool_stats"].items()}


@pytest.mark.parametrize("way", ["imported before", "imported within"])
@pytest.mark.parametrize(
    "library",
    [
        pytest.param("freezegun", marks=needs("freezegun")),
        pytest.param("time_machine", marks=needs("time_machine")),
    ],
)
def test_clocks_that_a_test_stops_are_not_ours(place: Place, library: str, way: str) -> None:
    """Durations and times are the real ones before, across and within stopped ones."""
    began = datetime.now(UTC)
    out = place.run_program("patched/clocks", library, way, PYTHONWARNINGS="ignore")
    stats = json.loads(out)
    ended = datetime.now(UTC)
    assert counts(stats) == {
        "plain": 3,
        "awaited": 3,
        "steps": 4,
        "block": 3,
        "pair": 2,
        "chain": 3,
    }
    for row in stats["tool_stats"].values():
        assert 0 < row["min_duration_s"] <= row["max_duration_s"] < (ended - began).total_seconds()
        assert began <= datetime.fromisoformat(row["last_updated"]) <= ended


@pytest.mark.parametrize("when", ["first", "later"])
def test_functions_that_a_test_mocks_are_not_ours(place: Place, when: str) -> None:
    """With open, stat, getpid, clocks and locks mocked calls are recorded; no mock is called."""
    used, stats = json.loads(place.run_program("patched/functions", when))
    assert used == []
    made = 300 + (when == "later")
    assert counts(stats) == {"tool": made, "block": 1, "pair": 1, "chain": 1}


def test_a_mocked_pid_is_no_fork(place: Place) -> None:
    """A call around it ends, its own calls are this process's, and the collector ends with it."""
    stats = json.loads(place.run_program("patched/pid"))
    assert counts(stats) == {"tool": 100, "outer": 1, "pair": 2}
    place.wait_for_end()


@needs("pyfakefs")
@pytest.mark.parametrize("when", ["first", "later"])
def test_a_pretended_file_system_is_not_ours(place: Place, when: str) -> None:
    """Calls under pyfakefs are recorded in the real one; nothing of ours is in the other."""
    found, stats = json.loads(
        place.run_program("patched/file_system", when, PYTHONWARNINGS="ignore")
    )
    assert found == []
    assert counts(stats) == {"tool": 300 + (when == "later"), "block": 1}


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize(
    "library",
    [
        pytest.param("gevent", marks=needs("gevent")),
        pytest.param("eventlet", marks=needs("eventlet")),
    ],
)
def test_greenlets_lose_no_call(place: Place, library: str, order: str) -> None:
    """Nothing of ours waits where another greenlet may run: first calls of fifty at once."""
    # Where dnspython finds httpx and trio, eventlet's own resolver breaks as it is imported.
    environ = {"PYTHONWARNINGS": "ignore", "EVENTLET_NO_GREENDNS": "yes"}
    program = place.start_program("patched/greenlets", library, order, **environ)
    assert counts(json.loads(place.finish(program))) == {"tool": 50, "outer": 50}
