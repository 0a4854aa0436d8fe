"""Three real nats-servers, started with the configuration that stands in the repository."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

from shmperf.fleet.access import access_to
from shmperf.fleet.jetstream import JetStream
from tests.support import DEADLINE_S, wait_until

__all__ = ["PASSWORDS", "Cluster"]

_BINARY = "nats-server"

CONFIGURATION = Path(__file__).parents[2] / "config" / "nats" / "server.conf"
PASSWORDS = {user: f"x-{user}-hidden" for user in ("node", "collect", "ask", "cluster")}


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Cluster:
    """Servers ``a``, ``b`` and ``c``; each can be killed, and comes again."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        ports = _free_ports(6)
        self._ports = dict(zip("abc", ports[:3], strict=True))
        self._routes = dict(zip("abc", ports[3:], strict=True))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._streams: list[JetStream] = []

    def url(self, user: str, names: str = "abc") -> str:
        """Where they listen, for *user*."""
        return ",".join(
            f"nats://{user}:{PASSWORDS[user]}@127.0.0.1:{self._ports[name]}" for name in names
        )

    def start(self, names: str = "abc") -> Cluster:
        """Start those, and wait until they have a leader."""
        word = PASSWORDS["cluster"]
        routes = [f"nats://cluster:{word}@127.0.0.1:{port}" for port in self._routes.values()]
        for name in names:
            environ = {
                **os.environ,
                "NATS_NAME": name,
                "NATS_LISTEN": f"127.0.0.1:{self._ports[name]}",
                "NATS_CLUSTER_LISTEN": f"127.0.0.1:{self._routes[name]}",
                "NATS_STORE": str(self.directory / name),
                "NATS_ROUTES": f"[{', '.join(routes)}]",
                **{f"NATS_{user.upper()}_PASSWORD": text for user, text in PASSWORDS.items()},
            }
            with self.log(name).open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [_BINARY, "-c", str(CONFIGURATION)],
                    env=environ,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        wait_until(self._has_leader, lambda: "\n".join(self.log(n).read_text() for n in names))
        return self

    def log(self, name: str) -> Path:
        """What a server says."""
        return self.directory / f"{name}.log"

    def _has_leader(self) -> bool:
        for name, process in self._processes.items():
            assert process.poll() is None, self.log(name).read_text()
        return any("metadata leader" in self.log(name).read_text() for name in self._processes)

    def kill(self, name: str) -> None:
        """As a power failure would, as far as a process can."""
        process = self._processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(DEADLINE_S)

    def connect(self, user: str) -> JetStream:
        """A connection as *user*; it is closed with the servers."""
        found = JetStream(access_to(self.url(user)), "shmperf", "tests")
        self._streams.append(found)
        return found

    def close(self) -> None:
        """Leave nothing behind."""
        for one in self._streams:
            one.close()
        for name in list(self._processes):
            self.kill(name)
