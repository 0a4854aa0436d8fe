"""How tools are sampled is chosen once a second at most, told when it changes, and kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.analysis.budget import Costs
from shmperf.collector.choosing import Choosing
from shmperf.collector.cost import measured_costs
from shmperf.config.options import Options, Sampling
from shmperf.session.settings import ToolSampling
from shmperf.session.word import generation_of
from shmperf.testing import Room

COSTS = Costs(recorded_ns=1_600, counted_ns=400, clocks_ns=150)
US, MS = 1_000, 1_000_000


class Chooser:
    """A choosing with a clock and costs of its own, in a session that nobody else chooses for."""

    def __init__(self, room: Room, sampling: Sampling) -> None:
        self.room = room
        self.totals = room.collector.ledger.totals
        self.session = room.session
        options = Options(sampling=sampling)
        self.session.settings.publish(options)
        self.choosing = Choosing(
            room.collector.ledger, self.session, room.clock, measured=lambda: COSTS
        )
        self.choosing.configure(options)

    def look(self, tool: str = "", duration_ns: int = 0, calls: int = 1_000) -> bool:
        """A second and some *calls* later; True when workers are told of a change."""
        former = generation_of(self.session.word[0])
        if tool:
            self.totals.of(tool).add([duration_ns] * calls, 0, 1)
            self.totals.take_delta()
        self.room.clock.now_s += 1
        self.choosing.look()
        return generation_of(self.session.word[0]) != former

    def told(self, tool: str) -> ToolSampling:
        """What a worker reads of *tool*."""
        self.session.settings.reload()
        return self.session.settings.sampling_of(tool)


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    found = Room(tmp_path, runtime)
    yield found
    found.close()


def test_nothing_is_told_where_nothing_is_sampled(room: Room) -> None:
    """By default no look costs anybody anything."""
    chooser = Chooser(room, Sampling())
    assert not chooser.look("tool", US)
    assert chooser.choosing.status() == {}


def test_slow_calls_are_kept_once_it_is_known_what_is_slow(room: Room) -> None:
    """Every Nth as configured; from a hundred calls on those above the p99 as well."""
    chooser = Chooser(room, Sampling(every=10))
    assert chooser.look("tool", MS, calls=50)
    assert chooser.told("tool") == ToolSampling(10, 0)
    assert "too few calls" in chooser.choosing.status()["tool"].reason
    assert chooser.look("tool", MS, calls=50)
    assert chooser.told("tool") == ToolSampling(10, MS)
    status = chooser.choosing.status()["tool"]
    assert (status.every, status.slow_kept) == (10, True)
    assert status.reason == "as sampling.every says"
    # What stays as it is is told to nobody.
    assert not any(chooser.look("tool", MS) for _ in range(5))


def test_a_budget_chooses_by_what_a_call_takes(room: Room) -> None:
    """Long calls are all recorded, shorter ones in part, the shortest only counted."""
    chooser = Chooser(room, Sampling(overhead_budget=0.05))
    for tool, duration_ns in {"long": MS, "short": 20 * US, "tiny": 2 * US}.items():
        chooser.look(tool, duration_ns)
    assert chooser.told("long").every == 1
    assert chooser.told("short") == ToolSampling(4, 20 * US)
    assert chooser.told("tiny") == ToolSampling(4_096, 0)
    status = chooser.choosing.status()
    assert status.keys() == {"short", "tiny"}
    assert "more than the budget" in status["tiny"].reason
    assert not status["tiny"].slow_kept


def test_a_choice_follows_what_changes_and_nothing_that_varies(room: Room) -> None:
    """A fifth more or less for a minute is no reason; ten times as long is one, once."""
    chooser = Chooser(room, Sampling(overhead_budget=0.05))
    assert chooser.look("tool", 20 * US)
    told = [chooser.look("tool", US * (16 if n % 2 else 24)) for n in range(60)]
    assert chooser.told("tool").every == 4
    assert sum(told) <= 1  # its p99, perhaps
    changes = [chooser.look("tool", 200 * US) for _ in range(30)]
    assert chooser.told("tool").every == 1
    assert 1 <= sum(changes) <= 5


def test_named_tools_are_as_their_owner_says(room: Room) -> None:
    """What stands under `tools` goes before any budget, 1 too."""
    chooser = Chooser(room, Sampling(tools={"mine": 7, "all": 1}, overhead_budget=0.05))
    chooser.look("mine", 2 * US)
    chooser.look("all", 2 * US)
    assert chooser.told("mine").every == 7
    assert chooser.told("all").every == 1


def test_another_budget_is_another_choice(room: Room) -> None:
    """An edited budget holds from the next look; without one every call is recorded again."""
    chooser = Chooser(room, Sampling(overhead_budget=0.05))
    chooser.look("tool", 20 * US)
    assert chooser.told("tool").every == 4
    for budget, every in ((0.01, 4_096), (0.2, 1), (0.0, 1)):
        chooser.choosing.configure(Options(sampling=Sampling(overhead_budget=budget)))
        chooser.look("tool", 20 * US)
        assert chooser.told("tool").every == every, budget
    assert chooser.choosing.status() == {}


def test_the_next_collector_goes_on_with_what_was_chosen(room: Room) -> None:
    """A restart changes nothing that workers were told, before it knows better."""
    chooser = Chooser(room, Sampling(overhead_budget=0.05))
    chooser.look("tool", 20 * US)
    former = generation_of(room.session.word[0])
    later = Choosing(chooser.room.collector.ledger, room.session, room.clock, lambda: COSTS)
    assert later.every_of("tool") == 4
    room.clock.now_s += 1
    later.look()
    assert generation_of(room.session.word[0]) == former


def test_costs_are_those_of_this_machine() -> None:
    """They are measured: a record costs more than a count, and all of them something."""
    found = measured_costs()
    assert found.recorded_ns > found.counted_ns > found.clocks_ns > 0
    assert found.inside_ns < found.recorded_ns
