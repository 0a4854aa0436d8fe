"""A node: a storage of its own on a host of its own, with workers that call, and what it knows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from bench.measure import PROGRAMS
from shmperf.storage.consumer import consumers
from shmperf.storage.reading import read

from .network import Host

__all__ = ["Node", "clock_ahead"]

_END_S = 120.0
_CONFIGURATION = """
default_perf_points: -1
storage: {{flush_interval_seconds: 1}}
fleet: {{url: "{url}", node: "{name}", stream: "{stream}"}}
"""


def clock_ahead(seconds: float) -> dict[str, str]:
    """What lets the interpreters of a node believe that it is so much later."""
    path = os.pathsep.join(filter(None, (str(PROGRAMS / "ahead"), os.environ.get("PYTHONPATH"))))
    return {"PYTHONPATH": path, "WALL_CLOCK_AHEAD_S": str(seconds)}


class Node:
    """One of them; its sessions come and go, and its storage stays."""

    def __init__(
        self,
        host: Host,
        directory: Path,
        fleet: tuple[str, str],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """*fleet* is where it publishes: servers and stream."""
        self.host = host
        self.name = host.name
        self.directory = directory
        self.storage = directory / "perf_data"
        (directory / "config").mkdir(parents=True)
        (directory / "rt").mkdir(mode=0o700)
        url, stream = fleet
        (directory / "config/tool_perf_limits.yaml").write_text(
            _CONFIGURATION.format(url=url, name=self.name, stream=stream)
        )
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SHMPERF")}
        self._environ = {**kept, "XDG_RUNTIME_DIR": str(directory / "rt"), **(environ or {})}
        self._program: subprocess.Popen[bytes] | None = None

    def start(self, rate: float, workers: int = 2) -> None:
        """A session with *workers* that call; with no *rate* one that only sends what waits."""
        command = [sys.executable, str(PROGRAMS / "fleet_node.py"), str(rate), str(workers)]
        with (self.directory / "log").open("ab") as log:
            self._program = self.host.start(
                command,
                cwd=self.directory,
                env=self._environ,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._program.stdout is not None
        if self._program.stdout.readline() != b"ready\n":
            raise RuntimeError(f"{self.name}: {(self.directory / 'log').read_text()[-500:]}")

    def end(self) -> dict[str, Any]:
        """End the session in order; its books."""
        program, self._program = self._program, None
        assert program is not None
        told, _ = program.communicate(b"", timeout=_END_S)
        books: dict[str, Any] = json.loads(told)
        return books

    def ask(self, *command: str) -> Any:
        """What ``shmperf`` answers on this node, as JSON."""
        done = subprocess.run(
            self.host.command([sys.executable, "-m", "shmperf", *command, "--json"]),
            cwd=self.directory,
            env=self._environ,
            capture_output=True,
            check=False,
            timeout=120,
        )
        if done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: {done.stderr.decode()[-300:]}")
        return json.loads(done.stdout)

    def publisher(self) -> Mapping[str, Any]:
        """How its sidecar is."""
        found: Mapping[str, Any] = self.ask("status")["sidecars"].get("fleet") or {}
        return found

    def waiting(self) -> int:
        """Lines of its outbox that are not published, by what lies on its disk."""
        return consumers(self.storage)["fleet"].lag

    def kill_publisher(self) -> bool:
        """Kill it, if it runs; it is started again by its collector."""
        pid = self.publisher().get("pid")
        if not pid:
            return False
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        return True

    def kept(self) -> dict[str, list[str]]:
        """By tool, the ids of all calls that stand in its history."""
        found: dict[str, list[str]] = {}
        for line in read(self.storage):
            found.setdefault(line["tool"], []).append(line["data"]["id"])
        return found

    def close(self) -> None:
        """End whatever runs of it, at once."""
        program, self._program = self._program, None
        if program is None:
            return
        for process in psutil.Process(program.pid).children(recursive=True):
            process.kill()
        program.kill()
        program.wait(_END_S)
