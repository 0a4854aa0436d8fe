"""Three nats-servers as a cluster, each on its host: killed, brought back, asked who leads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.measure import wait_until

from .network import Host

__all__ = ["Server", "Servers"]

_PORT, _ROUTES = 4222, 6222
_KILL_WAIT_S = 10.0
# What a server loses when power fails is less the more often it syncs; here only processes die.
_CONFIGURATION = """
server_name: {name}
listen: {address}:{port}
jetstream {{ store_dir: "{directory}" }}
cluster {{ name: fleet, listen: {address}:{routes}, routes: [{others}] }}
"""
# Asked from a host on the switch, in a process of its own there: prints who leads, or nothing.
_ASK = """
import asyncio, sys
import nats

async def main():
    async def quiet(error):
        pass
    client = await nats.connect(sys.argv[2].split(","), connect_timeout=2, error_cb=quiet,
                                allow_reconnect=False)
    try:
        found = await client.jetstream(timeout=2).stream_info(sys.argv[1])
        print(found.cluster.leader or "")
    finally:
        await client.close()

asyncio.run(main())
"""
# The stream as whoever comes first makes it, but with a window after which sending again is seen.
_MAKE = """
import asyncio, sys
import nats
from nats.js.api import StreamConfig
from shmperf.fleet import wire

async def main():
    async def quiet(error):
        pass
    client = await nats.connect(sys.argv[2].split(","), connect_timeout=2, error_cb=quiet)
    config = StreamConfig(name=sys.argv[1], subjects=[wire.kinds_subject(sys.argv[1])],
                          description=wire.description(), num_replicas=3,
                          duplicate_window=float(sys.argv[3]))
    for _ in range(60):
        try:
            await client.jetstream(timeout=3).add_stream(config)
            break
        except Exception as error:
            last = error
            await asyncio.sleep(0.5)
    else:
        sys.exit(f"no stream: {last}")
    await client.close()

asyncio.run(main())
"""


class Server:
    """One of them."""

    def __init__(self, host: Host, directory: Path, others: list[str]) -> None:
        self.host = host
        self._directory = directory
        directory.mkdir()
        self._configuration = directory / "configuration"
        self._configuration.write_text(
            _CONFIGURATION.format(
                name=host.name,
                address=host.address,
                port=_PORT,
                directory=directory / "kept",
                routes=_ROUTES,
                others=", ".join(others),
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_up(self) -> bool:
        """True from `start` to `kill`."""
        return self._process is not None

    def start(self) -> None:
        """Start it, or bring it back with what it has on disk."""
        with (self._directory / "log").open("ab") as log:
            self._process = self.host.start(
                ["nats-server", "-c", str(self._configuration)], stdout=log, stderr=log
            )

    def is_ready(self) -> bool:
        """True once it serves, and has seen somebody lead."""
        text = (self._directory / "log").read_text()
        return "Server is ready" in text and "cluster metadata leader" in text.replace("new ", "")

    def kill(self) -> None:
        """As a power failure does it, as far as a process can."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(_KILL_WAIT_S)


class Servers:
    """The cluster."""

    def __init__(self, hosts: list[Host], directory: Path, asker: Host) -> None:
        """*asker* is the host from which it is asked who leads."""
        directory.mkdir()
        routes = [f"nats://{host.address}:{_ROUTES}" for host in hosts]
        self.all = [Server(host, directory / host.name, routes) for host in hosts]
        self.url = ",".join(f"nats://{host.address}:{_PORT}" for host in hosts)
        self._asker = asker

    def start(self) -> None:
        """Start all."""
        for server in self.all:
            server.start()

    def wait_until_up(self) -> None:
        """Until all of them talk to each other: who makes a stream of three needs three."""
        if not wait_until(lambda: all(server.is_ready() for server in self.all), 60.0):
            raise RuntimeError("the servers do not come up")

    def make_stream(self, stream: str, window_s: float) -> None:
        """The stream, with *window_s* in which a message that comes again is known as such."""
        command = [sys.executable, "-c", _MAKE, stream, self.url, str(window_s)]
        done = subprocess.run(self._asker.command(command), capture_output=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.decode()[-500:])

    def leader(self, stream: str) -> Server | None:
        """Who leads the stream now; None while nobody does, or nobody says."""
        command = [sys.executable, "-c", _ASK, stream, self.url]
        try:
            done = subprocess.run(
                self._asker.command(command), capture_output=True, check=False, timeout=20
            )
        except subprocess.TimeoutExpired:
            return None
        name = done.stdout.decode().strip()
        return next((server for server in self.all if server.host.name == name), None)

    def wait(self, stream: str) -> Server:
        """Until somebody leads."""
        found: list[Server] = []

        def is_led() -> bool:
            leader = self.leader(stream)
            found.extend([leader] if leader is not None else [])
            return leader is not None

        if not wait_until(is_led, 120.0):
            raise RuntimeError(f"nobody leads {stream}")
        return found[-1]

    def close(self) -> None:
        """End all."""
        for server in self.all:
            server.kill()
