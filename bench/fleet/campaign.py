"""
A fleet on one machine, what goes wrong in it, and whether every call stands in its files once.

    3 servers (R3) ── nodes with workers: one behind a long line, one whose clock is ahead, one on
                  │   a small disk
                  └─ 2 collectors into one directory on a small disk

Each node knows by its own history which calls it kept: these ids, and no others, have to be in the
collected files, each once, and ``fleet check`` has to say the same.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.measure import PROGRAMS, wait_until

from .collectors import Collectors
from .faults import FAULTS, Fault, World
from .network import Host, Network
from .nodes import Node, clock_ahead
from .servers import Servers

__all__ = ["Outcome", "Size", "campaign"]

_STREAM = "fleet"
_DELAY_S, _AHEAD_S = 0.1, 420.0
_DELAYED_PORT = 14222
_SMALL = "size=64m"
_SETTLE_S, _ENDED_S = 120.0, 12.0
_MOST_SESSIONS = 5


class Outcome(msgspec.Struct):
    """What was done, and what was found: calls by node that are missing, or there twice."""

    faults: Counter[str] = msgspec.field(default_factory=Counter)
    calls: int = 0
    kept: int = 0
    lost: int = 0
    doubled: int = 0
    foreign: int = 0
    wrong: list[str] = []
    checked: dict[str, Any] = {}
    settled_s: float = 0.0

    def compare(self, node: str, own: set[str], there: Mapping[str, int]) -> None:
        """The calls that a node has kept with how often each stands in the files."""
        missing, foreign = own - there.keys(), there.keys() - own
        doubled = sum(times - 1 for times in there.values())
        self.kept += len(own)
        self.lost += len(missing)
        self.foreign += len(foreign)
        self.doubled += doubled
        if missing or foreign or doubled:
            text = f"{len(missing)} missing, {len(foreign)} not its own, {doubled} twice"
            self.wrong.append(f"{node}: of {len(own)} calls {text}")

    @property
    def is_right(self) -> bool:
        """True when nothing was wrong."""
        return not (self.lost or self.doubled or self.foreign or self.wrong)


class Size(NamedTuple):
    """
    Nodes, and calls a second of each.

    The stream knows for *window_s* which messages it has: less than what keeps a node away.
    """

    nodes: int
    rate: float
    window_s: float


class _Fleet:
    """The fleet, as long as it lives."""

    def __init__(self, directory: Path, nodes: int, window_s: float, stack: ExitStack) -> None:
        network = stack.enter_context(Network())
        servers = [network.add(f"s{number}") for number in range(1, 4)]
        hosts = [network.add(f"n{number}") for number in range(1, nodes + 1)]
        collecting = [network.add(f"c{number}") for number in (1, 2)]
        self.servers = Servers(servers, directory / "servers", collecting[0])
        stack.callback(self.servers.close)
        self.servers.start()
        self.servers.wait_until_up()
        self.servers.make_stream(_STREAM, window_s)
        small = [stack.enter_context(_small_disk(directory / name)) for name in ("n3", "files")]
        self.nodes = [self._node(host, directory, stack) for host in hosts]
        self.collectors = Collectors(collecting, (small[1], directory), self.servers.url, _STREAM)
        stack.callback(self.collectors.close)
        for name in self.collectors.names:
            self.collectors.start(name)
        self.world = World(self.servers, self.nodes, self.collectors, network.hosts, _STREAM, small)

    def _node(self, host: Host, directory: Path, stack: ExitStack) -> Node:
        url, environ = self.servers.url, {}
        if host.name == "n1":
            url = stack.enter_context(_long_line(host, self.servers))
        elif host.name == "n2":
            environ = clock_ahead(_AHEAD_S)
        node = Node(host, directory / host.name, (url, _STREAM), environ)
        stack.callback(node.close)
        return node


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path]:
    directory.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"{_SMALL},mode=0700", "none", str(directory)]
    subprocess.run(mount, check=True)
    try:
        yield directory
    finally:
        unmount = ["umount", "-l", str(directory)]
        subprocess.run(unmount, check=False)


@contextmanager
def _long_line(host: Host, servers: Servers) -> Iterator[str]:
    """A way from *host* to each of *servers* on which each byte takes a tenth of a second."""
    lines = []
    for number, server in enumerate(servers.all):
        where = [str(_DELAYED_PORT + number), server.host.address, "4222", str(_DELAY_S)]
        command = [sys.executable, str(PROGRAMS / "delaying.py"), *where]
        lines.append(host.start(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL))
    try:
        yield ",".join(f"nats://127.0.0.1:{_DELAYED_PORT + n}" for n in range(len(lines)))
    finally:
        for line in lines:
            line.kill()
            line.communicate()


def campaign(
    directory: Path,
    *,
    seconds: float,
    size: Size,
    seed: int,
    tell: Callable[[str], None],
) -> Outcome:
    """Let a fleet of that *size* call while things go wrong; what is true then."""
    outcome, draw = Outcome(), random.Random(seed)  # noqa: S311  to be drawn again
    with ExitStack() as stack:
        tell("hosts, servers and collectors come up")
        fleet = _Fleet(directory, size.nodes, size.window_s, stack)
        for node in fleet.nodes:
            node.start(size.rate)
        _go_wrong(fleet, outcome, draw, seconds, tell)
        _settle(fleet, outcome, tell)
        _compare(fleet, outcome)
    return outcome


def _go_wrong(
    fleet: _Fleet,
    outcome: Outcome,
    draw: random.Random,
    seconds: float,
    tell: Callable[[str], None],
) -> None:
    """Fault after fault, each once before any comes again; up to two at the same time."""
    until_s = time.monotonic() + seconds
    waiting: list[Fault] = []
    while time.monotonic() < until_s or len(outcome.faults) < len(FAULTS):
        if time.monotonic() > until_s + seconds * 3:
            outcome.wrong.append(f"only {len(outcome.faults)} kinds of faults in the time there is")
            return
        waiting = waiting or draw.sample(FAULTS, len(FAULTS))
        ends = []
        for fault in [waiting.pop() for _ in range(min(len(waiting), draw.choice((1, 1, 2))))]:
            end = fault.begin(fleet.world, draw)
            if end is not None:
                tell(fault.name)
                outcome.faults[fault.name] += 1
                ends.append(end)
        time.sleep(draw.uniform(2.0, 9.0))
        for end in ends:
            end()
        time.sleep(draw.uniform(0.5, 3.0))


def _settle(fleet: _Fleet, outcome: Outcome, tell: Callable[[str], None]) -> None:
    """Everything is well again: sessions end, what waits is sent, taken and written."""
    for host in fleet.world.hosts.values():
        host.heal()
    fleet.servers.wait(_STREAM)
    begun_s = time.monotonic()
    for node in fleet.nodes:
        books = node.end()
        outcome.calls += books["begun"]
        if books["begun"] != books["total_calls"] + books["aborted"] + sum(books["lost"].values()):
            outcome.wrong.append(f"{node.name}: its books do not balance: {books}")
    tell("the nodes send what waits")
    for node in fleet.nodes:
        for _ in range(_MOST_SESSIONS):
            node.start(0.0)
            if not wait_until(lambda node=node: _has_sent(node), _SETTLE_S):
                outcome.wrong.append(f"{node.name}: still waits: {node.publisher()}")
            node.end()
            # What such a session records itself is sent as it ends, or by the next one.
            if wait_until(lambda node=node: not node.waiting(), _ENDED_S):
                break
        else:
            outcome.wrong.append(f"{node.name}: {node.waiting()} lines wait after its last session")
    tell("the collectors take what waits")
    for name in fleet.collectors.names:
        fleet.collectors.start(name)
    if not wait_until(lambda: _is_taken(fleet, outcome), _SETTLE_S):
        outcome.wrong.append(f"not all is taken: {outcome.checked}")
    outcome.settled_s = time.monotonic() - begun_s
    for name in fleet.collectors.died():
        outcome.wrong.append(f"{name} ended by itself: {fleet.collectors.last_words(name)}")


def _has_sent(node: Node) -> bool:
    found = node.publisher()
    return bool(found.get("pid")) and found.get("waiting") == 0 and not found.get("problem")


def _is_taken(fleet: _Fleet, outcome: Outcome) -> bool:
    outcome.checked = fleet.collectors.check()
    nodes = outcome.checked["nodes"]
    return len(nodes) >= len(fleet.nodes) and not any(one["waiting"] for one in nodes)


def _compare(fleet: _Fleet, outcome: Outcome) -> None:
    """The ids that each node has kept against those that stand in the files."""
    if not outcome.checked.get("ok"):
        outcome.wrong.append(f"fleet check: {outcome.checked}")
    rows = fleet.collectors.rows("SELECT node, id FROM calls")
    collected: dict[str, Counter[str]] = {node.name: Counter() for node in fleet.nodes}
    for row in rows:
        collected.setdefault(row["node"], Counter())[row["id"]] += 1
    for node in fleet.nodes:
        own = {call_id for ids in node.kept().values() for call_id in ids}
        outcome.compare(node.name, own, collected[node.name])
