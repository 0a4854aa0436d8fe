"""What each node knows of tools, for the others: nobody's figures twice, and none of the dead."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.perfstate import PerfState
from shmperf.analysis.stats import News
from shmperf.analysis.totals import Totals
from shmperf.config.options import Options
from shmperf.errors import FormatError
from shmperf.files import internals
from shmperf.fleet.engine import Away, Entry, Listing
from shmperf.fleet.facts import Clocks, Facts, NodeFacts, Others, decode_facts, encode_facts
from shmperf.fleet.teller import Teller
from shmperf.query.fleetfacts import FLEET_FACTS, STALE_S, FleetFacts, FleetReader, write_facts
from shmperf.rag.facts import fleet_facts_of
from shmperf.session.messages import Changes, SidecarReport
from shmperf.storage.codecs import CODECS
from shmperf.testing import Clock
from tests.support import wait_until

from .broker import Broker, needs_broker

needs_broker()

HALF_LIFE_S = 600.0
NOW_S = 1_800_000_000.0


def state_of(calls: int, failed: int, at_s: float = NOW_S) -> PerfState:
    """What so many calls of 10 ms have shown."""
    found = PerfState(HALF_LIFE_S)
    found.add(_totals(calls, failed, at_s), at_s)
    return found


def _totals(calls: int, failed: int, at_s: float = NOW_S) -> Totals:
    totals = Totals()
    totals.add([10_000_000] * calls, failed, int(at_s * 1e9))
    return totals


class Lab:
    """A node with a collector of which a test says what it has counted."""

    def __init__(self, broker: Broker, place: Path, number: int, wall: Clock) -> None:
        self.storage = place / f"node {number}"
        internals(self.storage).mkdir(parents=True)
        self.clock = Clock()
        self.totals: dict[str, Totals] = {}
        engine = broker.connect()
        engine.open()
        self.clocks = Clocks(self.clock, wall)
        origin = bytes(15) + bytes([number])
        self.teller = Teller(f"node-{number}", origin, self.storage, Options(), engine, self.ask)
        self.facts = Facts(self.teller, self.clocks)
        self.reader = FleetReader(self.storage, self.clock)

    def ask(self, question: object) -> Any:
        """What its collector answers."""
        assert isinstance(question, Changes)
        return msgspec.to_builtins(News(revision=1, totals=self.totals), str_keys=False)

    def step(self, seconds: float = 1.0) -> None:
        """Its next turn, so much later."""
        self.clock.now_s += seconds
        self.facts.step(SidecarReport())

    def known(self) -> FleetFacts:
        found = self.reader.read()
        assert found is not None
        return found


@pytest.fixture
def labs(broker: Broker, tmp_path: Path) -> tuple[Lab, Lab]:
    return Lab(broker, tmp_path, 1, Clock(NOW_S)), Lab(broker, tmp_path, 2, Clock(NOW_S))


def test_a_node_hears_what_others_know(labs: tuple[Lab, Lab]) -> None:
    """One turn of each, and each has its own figures and the other's apart."""
    one, two = labs
    one.totals = {"search": _totals(10, 0)}
    two.totals = {"search": _totals(20, 20), "fetch": _totals(1, 0)}
    for lab in (one, two, one):
        lab.step()
    known = one.known()
    assert known.nodes == 1
    search = known.tools["search"]
    assert search.own is not None
    assert search.others is not None
    assert (search.own.calls, search.others.calls, search.others.errors) == (10, 20, 20)
    assert known.tools["fetch"].own is None
    path = internals(one.storage) / FLEET_FACTS
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = fleet_facts_of(search, one.totals["search"], half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert (found.calls, found.failed, found.source) == (30, 20, "fleet")
    assert round(found.successes) == 10
    assert round(found.failures) == 20


def test_no_figures_count_twice(labs: tuple[Lab, Lab]) -> None:
    """However often both tell and hear, and though calls go on, each call counts once."""
    one, two = labs
    for turn in range(1, 6):
        one.totals = {"search": _totals(10 * turn, 0)}
        two.totals = {"search": _totals(3 * turn, turn)}
        two.step()
        one.step()
    search = one.known().tools["search"]
    together = search.together()
    assert together is not None
    assert (together.calls, together.errors) == (65, 5)
    # More calls since the file was written: the own part is brought up to date, and it alone.
    found = fleet_facts_of(search, _totals(52, 1), half_life_s=HALF_LIFE_S, now_s=NOW_S)
    assert (found.calls, found.failed) == (67, 6)


def test_a_restart_counts_nothing_again(labs: tuple[Lab, Lab], broker: Broker) -> None:
    """A publisher that was killed takes up its figures, and its key."""
    one, two = labs
    one.totals = {"search": _totals(10, 0)}
    one.step()
    again = Facts(one.teller._replace(engine=broker.connect()))
    again.step(SidecarReport())
    assert again.problem is None
    two.step()
    search = two.known().tools["search"]
    assert search.others is not None
    assert search.others.calls == 10


def test_who_is_silent_for_long_is_left_out(labs: tuple[Lab, Lab]) -> None:
    """Beats keep a node at rest; without them it ages out, and comes back with its next word."""
    one, two = labs
    two.totals = {"search": _totals(5, 5)}
    two.step()
    one.step()
    for _ in range(40):
        two.step(10)
        one.step(10)
    assert one.known().tools["search"].others is not None
    for _ in range(31):
        one.step(10)
    assert one.known().tools == {}
    assert one.known().nodes == 0
    two.totals = {"search": _totals(6, 5)}
    two.step()
    one.step()
    search = one.known().tools["search"]
    assert search.others is not None
    assert search.others.calls == 6


def test_clocks_may_be_apart(broker: Broker, tmp_path: Path) -> None:
    """What happened a moment ago on a node whose clock is wrong happened a moment ago."""
    for number, wrong_s in ((3, 7200.0), (5, -7200.0)):
        one = Lab(broker, tmp_path, number, Clock(NOW_S))
        two = Lab(broker, tmp_path, number + 1, Clock(NOW_S + wrong_s))
        tool = f"tool {number}"
        two.totals = {tool: _totals(10, 10, NOW_S + wrong_s)}
        two.step()
        one.step()
        others = one.known().tools[tool].others
        assert others is not None
        assert abs(others.at_s - NOW_S) < 60
        found = fleet_facts_of(
            one.known().tools[tool], None, half_life_s=HALF_LIFE_S, now_s=NOW_S + 1
        )
        assert found.failures > 9


def test_a_broker_that_lost_all_is_told_again(labs: tuple[Lab, Lab], broker: Broker) -> None:
    """A bucket made anew has other revisions: nodes tell everything again, and hear it."""
    one, two = labs
    one.totals = two.totals = {"search": _totals(2, 1)}
    for turn in range(20):
        two.totals = {"search": _totals(2 + turn, 1)}
        two.step()
        one.step()
    broker.kill()
    kept = broker.directory / "kept"
    kept.rename(broker.directory / "lost")
    broker.start()
    engine = broker.connect()
    engine.open()

    def have_told() -> bool:
        try:
            for lab in (one, two, one):
                lab.step(10)
        except Away:
            # They find their way back by themselves.
            return False
        return True

    wait_until(have_told, "they are connected again")
    assert have_told()
    assert {entry.key for entry in engine.entries("facts").entries} >= {
        f"node-{number}.{bytes(15).hex()}{number:02x}" for number in (1, 2)
    }
    search = one.known().tools["search"]
    assert search.others is not None


def test_a_copied_storage_is_told(labs: tuple[Lab, Lab]) -> None:
    """Two who write under one key, of one name and one origin, are a problem to be seen."""
    one, two = labs
    twin = Facts(two.teller._replace(node="node-1", origin=one.teller.origin), two.clocks)
    for _ in range(2):
        one.totals = {"search": _totals(_ + 1, 0)}
        two.totals = {"search": _totals(_ + 7, 0)}
        one.step()
        two.clock.now_s += 1
        twin.step(SidecarReport())
    assert "two nodes of one name on copies of one storage" in (one.facts.problem or "")


def _listing(value: bytes) -> Listing:
    return Listing([Entry("b.02", value, 1, 0)], [], 1, 0)


def test_a_storage_that_has_another_name_now_counts_once() -> None:
    """This one's own not at all, and another's by the name that it was heard under last."""
    clocks = Clocks(Clock(), Clock(NOW_S))
    others = Others("new.aa", clocks)
    told = {"old.aa": (5, 10), "north.bb": (10, 20), "south.bb": (20, 30), "west.cc": (40, 10)}
    entries = [
        Entry(key, encode_facts(key, {"search": state_of(calls, 0)}, NOW_S), number, at_s * 10**9)
        for number, (key, (calls, at_s)) in enumerate(told.items(), 1)
    ]
    others.take(Listing(entries, [], len(entries), 30 * 10**9))
    state, nodes = others.together(HALF_LIFE_S)["search"]
    assert nodes == 2
    assert state.calls == 20 + 40


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        CODECS[0].compressor()(b"\xc1"),
        CODECS[0].compressor()(msgspec.msgpack.encode(NodeFacts(node="b", now_s=0, version=2))),
        CODECS[0].compressor()(
            msgspec.msgpack.encode(
                NodeFacts(node="b", now_s=0, tools={"t": PerfState(1.0, finished_weight=-1.0)})
            )
        ),
        CODECS[0].compressor()(
            msgspec.msgpack.encode(
                NodeFacts(node="b", now_s=0, tools={"t": PerfState(1.0, histogram={1 << 40: 1.0})})
            )
        ),
    ],
)
def test_what_are_no_facts_is_refused(value: bytes) -> None:
    """Another machine's value is not believed: it is told, and what was known stays."""
    with pytest.raises(FormatError):
        decode_facts(value)
    others = Others("a.01")
    others.take(_listing(encode_facts("b", {"t": state_of(3, 0)}, NOW_S)))
    others.take(_listing(value))
    assert "facts of b.02" in (others.problem or "")
    assert others.together(HALF_LIFE_S)["t"][0].calls == 3


def test_very_many_tools_fit_in_a_value() -> None:
    """Of more than a broker takes in one value those called last are told."""
    states = {f"tool {n}": state_of(2000, 0, NOW_S + n) for n in range(5000)}
    found = decode_facts(encode_facts("a", states, NOW_S))
    assert "tool 4999" in found.tools
    assert 500 <= len(found.tools) <= 2000


def test_readers_believe_no_old_or_damaged_file(tmp_path: Path) -> None:
    """Too old, of the future, of another version, or cut off: as if there were none."""
    internals(tmp_path).mkdir()
    clock = Clock()
    reader = FleetReader(tmp_path, clock)
    assert reader.read() is None
    facts = FleetFacts(tools={}, nodes=1, written_s=clock.now_s)
    write_facts(tmp_path, facts)
    assert reader.read() is not None
    assert reader.read() is reader.read()
    clock.now_s += STALE_S + 1
    assert reader.read() is None
    clock.now_s -= 2 * STALE_S
    assert reader.read() is None
    clock.now_s += STALE_S
    path = internals(tmp_path) / FLEET_FACTS
    content = path.read_bytes()
    for damaged in (content[:-1], b"", b"\xc1", content.replace(b"nodes", b"nodez") + b"\0"):
        path.write_bytes(damaged)
        assert reader.read() is None
    facts.version = 2
    write_facts(tmp_path, facts)
    assert reader.read() is None
