"""A Dask cluster over several hosts: each worker finds its host's collector, one answer has all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.fleet.network import Host, Network, what_is_missing
from tests.support import DEADLINE_S, missing, needs, program_text, wait_until

needs("distributed")
needs("nats-py")
if what_is_missing():
    missing(what_is_missing())

_NODES = ("north", "south")
_PORT = 4222
_DASK = {"DASK_LOGGING__DISTRIBUTED": "critical", "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}


class Cluster:
    """A broker and a scheduler on a host, and each node's worker on its own."""

    def __init__(self, directory: Path, network: Network) -> None:
        self._directory = directory
        self._started: list[subprocess.Popen[bytes]] = []
        self.middle = network.add("middle")
        self.url = f"nats://{self.middle.address}:{_PORT}"
        self.hosts = {name: network.add(name) for name in _NODES}
        for name in ("middle", *_NODES):
            here = directory / name
            (here / "config").mkdir(parents=True)
            (here / "rt").mkdir(mode=0o700)
            (here / "tasks.py").write_text(program_text("frameworks/dask_tasks"))
            (here / "config/tool_perf_limits.yaml").write_text(
                "storage: {flush_interval_seconds: 1}\n"
                f"fleet: {{url: '{self.url}', node: {name}}}\n"
            )

    def start(self, host: Host, *command: str) -> subprocess.Popen[bytes]:
        """A process on a host, in its directory."""
        here = self._directory / host.name
        with (here / "log").open("ab") as log:
            started = host.start(
                command,
                cwd=here,
                env=self.environ(host),
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._started.append(started)
        return started

    def environ(self, host: Host) -> dict[str, str]:
        """With a runtime directory of the host's own: two hosts share no memory."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("SHMPERF")}
        here = self._directory / host.name
        return {**kept, **_DASK, "XDG_RUNTIME_DIR": str(here / "rt"), "PYTHONPATH": str(here)}

    def shmperf(self, host: Host, *arguments: str) -> Any:
        """What a command says, as JSON."""
        done = subprocess.run(
            host.command([sys.executable, "-m", "shmperf", *arguments, "--json"]),
            cwd=self._directory / host.name,
            env=self.environ(host),
            capture_output=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        return json.loads(done.stdout)

    def begin(self) -> None:
        """Start broker, scheduler and workers."""
        kept = self._directory / "middle/kept"
        self.start(self.middle, "nats-server", "-a", self.middle.address, "-js", "-sd", str(kept))
        scheduler = ["-m", "distributed.cli.dask_scheduler", "--no-dashboard", "--port", "8786"]
        self.start(self.middle, sys.executable, *scheduler, "--host", self.middle.address)
        for host in self.hosts.values():
            worker = ["-m", "distributed.cli.dask_worker", "--no-dashboard", "--no-nanny"]
            where = ["--host", host.address, f"tcp://{self.middle.address}:8786"]
            self.start(host, sys.executable, *worker, *where)

    def close(self) -> None:
        """End all."""
        for process in reversed(self._started):
            process.terminate()
            process.communicate(timeout=DEADLINE_S)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with Network() as network:
        found = Cluster(tmp_path, network)
        try:
            found.begin()
            yield found
        finally:
            found.close()


def test_workers_on_several_hosts_are_one_fleet(cluster: Cluster) -> None:
    """Calls are in the storage of their host, and in one answer, all beneath who submitted."""
    client = ["dask_client.py", f"tcp://{cluster.middle.address}:8786", str(len(_NODES))]
    program = cluster._directory / "middle/dask_client.py"
    program.write_text(program_text("frameworks/dask_client"))
    done = cluster.start(cluster.middle, sys.executable, *client)
    said, _ = done.communicate(timeout=DEADLINE_S)
    assert done.returncode == 0, (cluster._directory / "middle/log").read_text()
    trace, span = said.decode().split("-")[1:3]

    def forecasts() -> dict[str, int]:
        nodes = cluster.shmperf(cluster.middle, "fleet", "nodes", "--url", cluster.url)
        return {node["node"]: node["begun"] for node in nodes}

    # A forecast and what it calls, three times on each; the agent on the client's host.
    wait_until(lambda: forecasts() == {"middle": 1, "north": 6, "south": 6}, forecasts)
    stats = cluster.shmperf(cluster.middle, "fleet", "stats", "--url", cluster.url)
    assert {name: tool["count"] for name, tool in stats["tool_stats"].items()} == {
        "agent": 1,
        "forecast": 6,
        "locate": 6,
    }
    for name, host in cluster.hosts.items():
        own = cluster.shmperf(host, "stats")
        assert own["tool_stats"]["forecast"]["count"] == 3, name
        spans = json.loads(_exported(cluster, host))
        above = {one["parentSpanId"] for one in _spans(spans) if one["name"].endswith("forecast")}
        assert above == {span}
        assert {one["traceId"] for one in _spans(spans)} == {trace}


def _exported(cluster: Cluster, host: Host) -> bytes:
    done = subprocess.run(
        host.command([sys.executable, "-m", "shmperf", "export", "otlp", "-o", "-"]),
        cwd=cluster._directory / host.name,
        env=cluster.environ(host),
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def _spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        span
        for resource in document["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
