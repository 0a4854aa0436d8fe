"""A node's last word: put when it has changed, asked for at little cost, and true at its end."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.failures import ErrorsKnown
from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.stats import Books, Figures
from shmperf.analysis.totals import Totals
from shmperf.config.options import Options
from shmperf.errors import SessionError
from shmperf.fleet.asking import States
from shmperf.fleet.stating import Stating
from shmperf.fleet.teller import Teller
from shmperf.session.messages import (
    CollectorStatus,
    Errors,
    FiguresOf,
    InFlight,
    IntervalsOf,
    SessionStatus,
    SidecarReport,
    SlowestOf,
    Status,
    Tree,
    WorkerStatus,
)
from shmperf.testing import Clock

from .broker import Broker, needs_broker

needs_broker()

HALF = {"memory_bytes": 1 << 20, "cpu_percent": 50.0, "threads": 2}


class Node:
    """One whose collector has counted what a test says, and what it was asked."""

    def __init__(self, broker: Broker, storage: Path) -> None:
        self.calls = 0
        self.forgotten = 0
        self.asked: Counter[str] = Counter()
        self.clock = Clock()
        self.engine = broker.connect()
        self.engine.open()
        teller = Teller("a", b"\1" * 16, storage, Options(), self.engine, self.ask)
        self.stating = Stating(teller, self.clock)
        self.states = States(self.engine)

    def ask(self, question: object) -> Any:
        """Whatever a collector would say."""
        self.asked[type(question).__name__] += 1
        totals = Totals()
        totals.add([1000] * self.calls, 0, 1)
        books = Books(begun=self.calls, workers=2)
        figures = Figures(totals={"t": totals}, books=books, forgotten=self.forgotten)
        workers = [WorkerStatus(pid=n, **HALF) for n in (1, 2)]  # type: ignore[arg-type]  # fields by name
        answers: dict[type, Any] = {
            Status: SessionStatus(
                session="s",
                storage="here",
                mode="normal",
                collector=CollectorStatus(pid=1, uptime_s=1.0, records=1),
                storage_state="ok",
                workers=workers,
                begun=self.calls,
                lost={},
                faults={},
                told={},
                unusual=[],
                rag=None,
            ),
            FiguresOf: figures,
            Tree: [],
            Errors: ErrorsKnown(),
            SlowestOf: [],
            InFlight: [],
            IntervalsOf: IntervalsView(),
        }
        return msgspec.to_builtins(answers[type(question)], str_keys=False, builtin_types=(bytes,))

    def step(self, seconds: float, **report: Any) -> None:
        """Its turn, so much later."""
        self.clock.now_s += seconds
        self.stating.step(SidecarReport(**report))

    def revision(self) -> int:
        found = self.engine.get("nodes", f"a.{'01' * 16}")
        return 0 if found is None else found.revision


@pytest.fixture
def node(broker: Broker, tmp_path: Path) -> Node:
    return Node(broker, tmp_path)


def test_what_has_not_changed_is_not_put_again(node: Node) -> None:
    """A node at rest says only that it lives; one that goes on says how."""
    node.calls = 10
    node.step(1)
    first = node.revision()
    for _ in range(3):
        node.step(2)
    # The rate of before is over: said once.
    rested = node.revision()
    for _ in range(5):
        node.step(2)
    assert node.revision() == rested
    assert first < rested
    assert node.states.look().rows[0].state == "up"
    node.calls = 30
    node.step(2)
    row = node.states.look().rows[0]
    assert node.revision() > rested
    assert (row.total_calls, row.workers, row.rate) == (30, 2, 10.0)
    assert (row.memory_bytes, row.cpu_percent, row.threads) == (2 << 20, 100.0, 4)


def test_most_of_it_is_asked_for_seldom(node: Node) -> None:
    """Counts every other second, tree, errors and slowest calls every tenth, none in between."""
    for _ in range(21):
        node.step(1)
    assert node.asked["FiguresOf"] == 11
    assert node.asked["Tree"] == node.asked["Errors"] == node.asked["SlowestOf"] == 3


def test_a_cleanup_takes_all_of_it_away(node: Node) -> None:
    """What was known before it is asked for anew, and not told once more."""
    node.calls = 5
    node.step(1)
    node.calls, node.forgotten = 1, 1
    node.step(2)
    node.step(2)
    assert node.states.look().rows[0].total_calls == 1
    assert node.asked["Tree"] == 2


def test_how_publishing_goes_is_part_of_it(node: Node) -> None:
    """What waits, what was dropped, and what is the matter."""
    node.step(1, waiting=7, dropped=3, problem="a disk is full")
    row = node.states.look().rows[0]
    assert (row.waiting, row.dropped, row.problem) == (7, 3, "a disk is full")


def test_the_last_word_is_what_lies_on_disk(node: Node) -> None:
    """Whoever ended says so, with its books; of a storage that is gone it says nothing new."""
    node.calls = 5
    node.step(1)
    node.stating.finish(SidecarReport())
    row = node.states.look().rows[0]
    assert (row.state, row.workers, row.rate) == ("ended", 0, None)
    # There never was a directory: what was told stays.
    assert row.total_calls == 5


def test_an_answer_that_can_not_be_read_is_an_error(node: Node) -> None:
    """A collector's answer is looked at like any other."""
    ask = node.ask

    def wrong(question: object) -> Any:
        return "nonsense" if isinstance(question, Tree) else ask(question)

    node.stating = Stating(node.stating._teller._replace(ask=wrong), node.clock)
    with pytest.raises(SessionError, match="the collector's answer can't be read"):
        node.step(1)
