"""Statistics, and what a running collector answers."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from shmperf.collector.requests import ANSWERS, AT_ONCE
from shmperf.config.options import Options
from shmperf.errors import SessionError
from shmperf.query.answers import Answers
from shmperf.session.client import Client
from shmperf.session.messages import Flush, Mode, Question, Stats, Status, Stop
from shmperf.shm.record import Outcome
from shmperf.storage.state import stats_on_disk
from shmperf.testing import Room, assert_books_balance
from tests.support import DEADLINE_S

from .lab import storage_gone


def test_statistics_of_an_empty_session_are_zeros(room: Room) -> None:
    """Where nothing was called nothing is counted."""
    assert room.stats() == {
        "total_calls": 0,
        "mode": "normal",
        "tools_tracked": 0,
        "tool_stats": {},
        "begun": 0,
        "in_flight": 0,
        "aborted": 0,
        "lost": {},
        "faults": {},
        "workers": 0,
        "complete": True,
        "nameless": {},
        "varying": [],
        "unattached": {"workers": 0, "calls": 0, "reason": ""},
    }


def test_statistics_of_an_unknown_tool_are_zeros_and_nulls(room: Room) -> None:
    """A tool that nobody called has no calls and no durations."""
    assert room.stats("nobody") == {
        "tool": "nobody",
        "count": 0,
        "avg_duration_s": None,
        "min_duration_s": None,
        "max_duration_s": None,
        "p50_s": None,
        "p95_s": None,
        "p99_s": None,
        "errors": 0,
        "aborted": 0,
        "sampled_out": 0,
        "current_size": 0,
        "max_size": 100,
        "last_updated": None,
        "in_flight": 0,
        "complete": True,
        "estimated": False,
        "histogram": {},
    }


def test_statistics_count_outcomes(room: Room) -> None:
    """Errors and timeouts are errors, cancellations are not, and all of them are calls."""
    worker = room.worker()
    body = msgspec.msgpack.encode((None, "Oops"))
    for outcome in (Outcome.OK, Outcome.ERROR, Outcome.TIMEOUT, Outcome.CANCELLED):
        worker.end(worker.begin("all"), body if outcome else b"", outcome)
    stats = room.stats("all")
    assert (stats["count"], stats["errors"], stats["aborted"]) == (4, 2, 0)
    assert stats["min_duration_s"] == stats["max_duration_s"] == pytest.approx(1e-6)
    assert stats["current_size"] == 4
    room.finish()
    found = [(line.get("status"), line.get("err")) for line in room.lines("all")]
    assert found == [
        (None, None),
        ("error", "Oops"),
        ("timeout", "Oops"),
        ("cancelled", "Oops"),
    ]


def test_statistics_of_a_storage_that_holds_nothing(tmp_path: Path) -> None:
    """A directory that does not exist answers like an empty one, and says it is not complete."""
    found = stats_on_disk(tmp_path / "nowhere", None, Options())
    assert_books_balance(found)
    assert (found["total_calls"], found["complete"]) == (0, False)
    assert stats_on_disk(tmp_path / "nowhere", "t", Options())["count"] == 0
    assert not (tmp_path / "nowhere").exists()


@contextmanager
def running(room: Room) -> Iterator[Client]:
    """The collector's cycle in a thread, and somebody who asks."""
    with ThreadPoolExecutor(1) as executor:
        cycle = executor.submit(room.collector.run)
        try:
            yield Client(room.directory)
        finally:
            room.collector.stop()
            cycle.result(DEADLINE_S)


def test_requests_are_answered_after_a_look_at_every_ring(room: Room) -> None:
    """Statistics and flush include every call that had ended before they were asked for."""
    worker = room.worker()
    with running(room) as client:
        for n in range(1, 6):
            worker.call("all", n)
            assert client.ask(Stats("all"), 30)["count"] == n
            assert client.ask(Flush(), 30) is True
            assert len(room.lines("all")) == n
        assert client.ask(Mode(optimization=True), 30) == "optimization"
        assert client.ask(Stats(), 30)["mode"] == "optimization"
        assert client.ask(Status(), 30)["collector"]["pid"] == os.getpid()


def test_flush_without_storage_says_why(room: Room) -> None:
    """Who asks for the disk while there is none gets an error with the reason, and no hang."""
    worker = room.worker()
    worker.call("all")
    with storage_gone(room), running(room) as client:
        with pytest.raises(SessionError, match="storage is unavailable"):
            client.ask(Flush(), 30)
        assert client.ask(Stats(), 30)["total_calls"] == 1


def test_stop_is_answered_when_everything_is_on_disk(room: Room) -> None:
    """Whoever asks a collector to stop finds all lines when the answer comes."""
    worker = room.worker()
    calls = [worker.call("all").hex for _ in range(10)]
    with running(room) as client:
        assert client.ask(Stop(), 30) is True
        assert room.ids("all") == Counter(calls)
    assert room.stats_on_disk()["total_calls"] == 10


def test_answers_have_the_same_shape_live_and_at_rest(room: Room) -> None:
    """Status is one struct, with or without a collector; open calls and edges are structs, too."""
    worker = room.worker()
    lock_fd = room.session.try_collector_lock()
    assert lock_fd is not None
    with running(room), os.fdopen(lock_fd):
        parent = worker.begin("all")
        worker.call("few", 1, parent.id)
        answers = Answers(room.storage, Options(), room.session)
        live = answers.status()
        (row,) = answers.in_flight()
        edges = answers.tree()
    assert live.collector is not None
    assert live.collector.pid == os.getpid()
    assert [found.pid for found in live.workers] == [os.getpid()]
    assert (row.id, row.tool, row.parent) == (parent.hex, "all", None)
    assert [(edge.parent, edge.tool, edge.calls) for edge in edges] == [("all", "few", 1)]
    rest = Answers(room.storage, Options(), None).status()
    assert rest.collector is None
    assert rest.begun == live.begun == 2
    assert msgspec.to_builtins(rest).keys() == msgspec.to_builtins(live).keys()


def test_every_request_has_an_answer() -> None:
    """The table of answers and the requests that are understood are the same."""
    assert set(ANSWERS) == set(get_args(Question))
    assert ANSWERS.keys() >= AT_ONCE
