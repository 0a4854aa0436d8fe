"""
Hosts on one machine: network namespaces on a common switch, whose links can be cut and spoilt.

    switch ── s1 s2 s3 ── n1 … ── c1 …       10.77.0.x, seen by nobody outside

A link can be cut, made slow (a token bucket) or lossy (packets dropped by chance); this needs root,
``ip``, ``tc`` and ``iptables``. Names are this process's own, so that two may run at once.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from typing import Any, Self

__all__ = ["Host", "Network", "what_is_missing"]

_TOOLS = ("ip", "tc", "iptables", "nats-server")
_BRIDGE = "switch"


def what_is_missing() -> str:
    """Why no network can be made here; empty where one can."""
    if os.geteuid() != 0:
        return "only root can make hosts of its own"
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        packages = "iproute2, iptables and nats-server"
        return f"{', '.join(missing)}: not found; Debian's packages {packages} have them"
    return ""


def _run(*command: str, check: bool = True) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")


class Host:
    """One of them: what runs in it, and how its link is."""

    def __init__(self, network: Network, name: str, number: int) -> None:
        self.name = name
        self.address = f"10.77.{number >> 8}.{number & 255}"
        self.space = f"{network.prefix}{name}"
        self._switch = network.switch
        self._port = name
        self.is_cut = False

    def command(self, arguments: Sequence[str]) -> list[str]:
        """What runs *arguments* in this host."""
        return ["ip", "netns", "exec", self.space, *arguments]

    def start(self, arguments: Sequence[str], **how: Any) -> subprocess.Popen[bytes]:
        """A process in this host; `ip` replaces itself by it, so its pid is the process's."""
        return subprocess.Popen(self.command(arguments), **how)

    def make(self) -> None:
        """Put it on the switch."""
        _run("ip", "netns", "add", self.space)
        pair = ("type", "veth", "peer", "name", self._port, "netns", self._switch)
        _run("ip", "link", "add", "name", "eth", "netns", self.space, *pair)
        _run("ip", "-n", self._switch, "link", "set", self._port, "master", _BRIDGE, "up")
        _run("ip", "-n", self.space, "addr", "add", f"{self.address}/16", "dev", "eth")
        _run("ip", "-n", self.space, "link", "set", "eth", "up")
        _run("ip", "-n", self.space, "link", "set", "lo", "up")

    def cut(self) -> None:
        """Pull the cable."""
        self.is_cut = True
        _run("ip", "-n", self._switch, "link", "set", self._port, "down")

    def heal(self) -> None:
        """Plug it in, and take everything off the line that was put there."""
        self.is_cut = False
        _run("ip", "-n", self._switch, "link", "set", self._port, "up", check=False)
        _run("tc", "-n", self.space, "qdisc", "del", "dev", "eth", "root", check=False)
        _run(*self.command(["iptables", "-F"]), check=False)

    def slow_down(self, rate: str) -> None:
        """Let no more out than *rate*, as ``256kbit``."""
        shape = ("rate", rate, "burst", "16kb", "latency", "800ms")
        _run("tc", "-n", self.space, "qdisc", "replace", "dev", "eth", "root", "tbf", *shape)

    def lose(self, share: float) -> None:
        """Drop this *share* of what comes in, by chance."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", f"{share:.3f}")
        _run(*self.command(["iptables", "-A", "INPUT", "-i", "eth", *chance, "-j", "DROP"]))

    def remove(self) -> None:
        """Take it away, with what still runs in it."""
        _run("ip", "netns", "del", self.space, check=False)


class Network:
    """All hosts; use it as a context."""

    def __init__(self) -> None:
        self.prefix = f"sf{os.getpid()}"
        self.switch = f"{self.prefix}sw"
        self.hosts: dict[str, Host] = {}

    def __enter__(self) -> Self:
        _run("ip", "netns", "add", self.switch)
        _run("ip", "-n", self.switch, "link", "add", _BRIDGE, "type", "bridge")
        _run("ip", "-n", self.switch, "link", "set", _BRIDGE, "up")
        return self

    def add(self, name: str) -> Host:
        """A further host."""
        host = Host(self, name, len(self.hosts) + 1)
        self.hosts[name] = host
        host.make()
        return host

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.remove()
        _run("ip", "netns", "del", self.switch, check=False)
