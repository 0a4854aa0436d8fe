"""A real nats-server with JetStream, in a directory and on a port of its own."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import nats

from shmperf.fleet.access import access_to
from shmperf.fleet.jetstream import JetStream
from tests.support import DEADLINE_S, missing, wait_until

__all__ = ["Broker", "needs_broker"]

_BINARY = "nats-server"


def needs_broker() -> None:
    """Skip the module's tests where there is no nats-server, or fail: see `support.missing`."""
    if shutil.which(_BINARY) is None:
        missing("nats-server is not installed: apt-get install nats-server")


class Broker:
    """One server; it can be killed, and comes back on its port with what it had kept."""

    def __init__(self, directory: Path, *, more: str = "", user: str = "", scheme: str = "nats"):
        """*more* is added to its configuration; *user* (``name:password``) to its URL."""
        self.directory = directory
        self.log = directory / "log"
        self.more = more
        self._user = user
        self._scheme = scheme
        self._port = -1
        self._process: subprocess.Popen[bytes] | None = None
        self._streams: list[JetStream] = []
        directory.mkdir(exist_ok=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        """Host and port."""
        assert self._port > 0
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Where it listens, with its user."""
        user = f"{self._user}@" if self._user else ""
        return f"{self._scheme}://{user}{self.address}"

    def start(self) -> Broker:
        """Start it, on the port that it had; it is up when this ends."""
        for left in self.directory.glob("*.ports"):
            left.unlink()
        configuration = self.directory / "configuration"
        configuration.write_text(
            f"listen: 127.0.0.1:{self._port}\n"
            f'ports_file_dir: "{self.directory}"\n'
            f'jetstream {{ store_dir: "{self.directory}/kept" }}\n'
            f"{self.more}\n"
        )
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [_BINARY, "-c", str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_up, lambda: f"nats-server: {self.log.read_text()[-2000:]}")
        return self

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-2000:]
        for path in self.directory.glob("*.ports"):
            text = path.read_text()
            if not text.endswith("}"):
                return False
            urls = json.loads(text)["nats"]
            self._port = int(urls[0].rpartition(":")[2])
            # JetStream comes up after its port: who asks before is told so, and asks again.
            return "Server is ready" in self.log.read_text()
        return False

    def kill(self) -> None:
        """End it as a power failure would, as far as a process can."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Stop it for a while, or let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            process.wait(DEADLINE_S)

    def connect(self, stream: str = "shmperf", **access: str) -> JetStream:
        """A connection of the test's own; it is closed with the server."""
        found = JetStream(access_to(access.pop("url", self.url), **access), stream, "tests")
        self._streams.append(found)
        return found

    def make_stream(self, name: str, text: str) -> None:
        """A stream of somebody else's, or of another version."""
        config = {"name": name, "subjects": [f"{name}.>"], "description": text}
        self._ask(f"STREAM.CREATE.{name}", config)

    def change_stream(self, name: str, **changes: object) -> None:
        """As an operator does."""
        config = self._ask(f"STREAM.INFO.{name}", {})["config"]
        self._ask(f"STREAM.UPDATE.{name}", config | changes)

    def purge(self, name: str) -> None:
        """Let all messages of a stream go, as its retention does in time."""
        self._ask(f"STREAM.PURGE.{name}", {})

    def delete(self, name: str) -> None:
        """Take a stream away, or a bucket's."""
        self._ask(f"STREAM.DELETE.{name}", {})

    def _ask(self, place: str, request: dict[str, Any]) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            client = await nats.connect(self.url)
            try:
                body = json.dumps(request).encode() if request else b""
                answer = await client.request(f"$JS.API.{place}", body, timeout=DEADLINE_S)
                found: dict[str, Any] = json.loads(answer.data)
            finally:
                await client.close()
            assert "error" not in found, found
            return found

        return asyncio.run(ask())

    def close(self) -> None:
        """Leave nothing behind."""
        for one in self._streams:
            one.close()
        self._end(signal.SIGKILL)
