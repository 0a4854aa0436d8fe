"""
What goes wrong in a fleet: each fault is begun, lasts, and is over again.

The world is what there is: hosts, servers, nodes, collectors. A fault that finds nobody to meet
(a server that is down already) does nothing and says so.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .collectors import Collectors
from .network import Host
from .nodes import Node
from .servers import Servers

__all__ = ["FAULTS", "Fault", "World"]

# What fills a file system that is this small.
_BALLAST = "ballast"


class World(NamedTuple):
    """All that a fault may meet; *small* are directories on file systems that fill soon."""

    servers: Servers
    nodes: list[Node]
    collectors: Collectors
    hosts: dict[str, Host]
    stream: str
    small: list[Path]


# What is to be done when the fault is over; None when it met nobody.
End = Callable[[], None] | None


class Fault(NamedTuple):
    """Its name, and how it begins."""

    name: str
    begin: Callable[[World, random.Random], End]


def _kill_server(world: World, draw: random.Random) -> End:
    server = draw.choice(world.servers.all)
    if not all(one.is_up for one in world.servers.all):
        return None
    server.kill()
    return server.start


def _kill_leader(world: World, _: random.Random) -> End:
    leader = world.servers.leader(world.stream)
    if leader is None or not all(one.is_up for one in world.servers.all):
        return None
    leader.kill()
    return leader.start


def _kill_all_servers(world: World, _: random.Random) -> End:
    """The broker is away as a whole."""
    for server in world.servers.all:
        server.kill()
    return world.servers.start


def _kill_publisher(world: World, draw: random.Random) -> End:
    return _nothing if draw.choice(world.nodes).kill_publisher() else None


def _kill_collector(world: World, draw: random.Random) -> End:
    name = draw.choice(world.collectors.names)
    world.collectors.kill(name)
    return lambda: world.collectors.start(name)


def _stop_collector(world: World, draw: random.Random) -> End:
    """It stands still for longer than a lease, and goes on as if nothing had been."""
    name = draw.choice(world.collectors.names)
    world.collectors.stop(name)
    return lambda: world.collectors.stop(name, goes_on=True)


def _cut(world: World, draw: random.Random) -> End:
    host = draw.choice(list(world.hosts.values()))
    host.cut()
    return host.heal


def _slow(world: World, draw: random.Random) -> End:
    host = draw.choice(list(world.hosts.values()))
    host.slow_down(draw.choice(["128kbit", "512kbit", "2mbit"]))
    return host.heal


def _lossy(world: World, draw: random.Random) -> End:
    host = draw.choice(list(world.hosts.values()))
    host.lose(draw.choice([0.02, 0.1, 0.25]))
    return host.heal


def _fill(world: World, draw: random.Random) -> End:
    """A disk is full: a node's, or that of the collectors."""
    ballast = draw.choice(world.small) / _BALLAST
    try:
        with ballast.open("wb") as file:
            while True:
                file.write(bytes(1 << 16))
                file.flush()
    except OSError:
        pass
    return lambda: ballast.unlink(missing_ok=True)


def _nothing() -> None:
    pass


FAULTS = (
    Fault("a server is killed", _kill_server),
    Fault("the leader is killed", _kill_leader),
    Fault("all servers are killed", _kill_all_servers),
    Fault("a publisher is killed", _kill_publisher),
    Fault("a collector is killed", _kill_collector),
    Fault("a collector stands still", _stop_collector),
    Fault("a link is cut", _cut),
    Fault("a link is slow", _slow),
    Fault("a link loses packets", _lossy),
    Fault("a disk is full", _fill),
)
