"""Nodes with real workers, collectors as people start them: files have what histories have."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shmperf.fleet.manifest import manifests_in
from shmperf.fleet.objects import Directory
from tests.support import PYTHON, Place, needs, outputs, place_in, program_text, wait_until

from .broker import Broker, needs_broker
from .cluster import Cluster
from .node import Node
from .storing import TERMS, Publishing, collect, until_stored, well

needs_broker()
needs("duckdb")

NAMES = ("alpha", "beta", "gamma")


@pytest.fixture
def places(tmp_path: Path) -> Iterator[dict[str, Place]]:
    """Where three nodes are: each has a storage, a session and a publisher of its own."""
    with ExitStack() as stack:
        found = {}
        for name in NAMES:
            runtime = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
            stack.callback(shutil.rmtree, runtime, ignore_errors=True)
            (tmp_path / name).mkdir()
            found[name] = stack.enter_context(place_in(tmp_path / name, runtime))
        yield found


def started(place: Place, name: str, url: str) -> Node:
    """A node that publishes there."""
    place.write(
        "config/tool_perf_limits.yaml",
        "default_perf_points: -1\nstorage: {async_save: false}\n"
        f"fleet: {{url: '{url}', node: {name}}}\n",
    )
    return Node(place)


def is_published(node: Node) -> bool:
    """All that it has made is at the broker: what is left at an end is for the next session."""
    report = node.publisher()
    return bool(report.get("sent")) and report["waiting"] == 0


def test_what_nodes_record_is_stored_through_all_that_happens(
    place: Place, places: dict[str, Place], broker: Broker, tmp_path: Path
) -> None:
    """Collectors, publishers and the broker are killed while three nodes call."""
    nodes = {name: started(one, name, broker.url) for name, one in places.items()}
    into = tmp_path / "into"
    command = ("fleet", "collect", "--url", broker.url, "--into", str(into), "--every", "1")
    collectors = [place.start_module(*command) for _ in range(2)]
    for turn in range(4):
        for node in nodes.values():
            node.make(40)
        if turn == 1:
            collectors[0].kill()
            outputs(collectors[0])
            pid = wait_until(lambda: nodes["beta"].publisher().get("pid"), "a publisher")
            os.kill(pid, signal.SIGKILL)
        if turn == 2:
            broker.kill()
            broker.start()
            collectors.append(place.start_module(*command))
    for node in nodes.values():
        wait_until(lambda node=node: is_published(node), "what waits to be published")
    ids = {name: node.end() for name, node in nodes.items()}
    for one in collectors[1:]:
        one.terminate()
        outputs(one)
        # One that has not come up yet is ended like any program.
        assert one.returncode in {0, -signal.SIGTERM}
    place.shmperf(*command, "--until-empty")
    found = json.loads(
        place.shmperf("fleet", "check", "--json", "--url", broker.url, "--from", str(into))
    )
    assert found["ok"]
    assert {one["node"] for one in found["nodes"]} == set(NAMES)
    rows = place.shmperf(
        "fleet", "sql", "--json", "--from", str(into), "SELECT node, id FROM calls"
    )
    stored = Counter((row["node"], row["id"]) for row in json.loads(rows))
    assert stored == Counter((name, id_) for name in NAMES for id_ in ids[name])
    assert "stored, once" in place.shmperf("fleet", "check", "--from", str(into))


def test_three_servers_of_which_one_is_killed(place: Place, tmp_path: Path) -> None:
    """As the configuration's users: who collects stores all of it, and who only asks can check."""
    cluster = Cluster(tmp_path / "cluster")
    into = Directory(tmp_path / "into")
    try:
        cluster.start()
        published, asker = Publishing(cluster.connect("node")), cluster.connect("ask")
        published.send("alpha", 0, 500)
        collectors = [collect(place, cluster.url("collect"), into.root) for _ in range(2)]
        until_stored(into, published, asker)
        cluster.kill("b")
        collectors[0].kill()
        outputs(collectors[0])
        published.retry("alpha", 500, 800)
        until_stored(into, published, asker)
        cluster.start("b")
        published.retry("beta", 0, 300)
        until_stored(into, published, asker)
        well(into, asker, published)
        collectors[1].terminate()
        place.finish(collectors[1])
    finally:
        cluster.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_waited_for(place: Place, broker: Broker, tmp_path: Path) -> None:
    """A real one, of a megabyte: when there is room again, all that waited is stored."""
    published = Publishing(broker.connect())
    place.write("collect.py", program_text("fleet/collect"))
    into = tmp_path / "into"
    into.mkdir()
    spec = json.dumps({"terms": TERMS})
    mounted = f"mount -t tmpfs -o size=1m,mode=700 tmpfs {into}"
    program = place.start(
        "unshare",
        "-m",
        "sh",
        "-c",
        f"{mounted}; exec {PYTHON} collect.py {broker.url} {into} '{spec}'",
    )
    assert program.stdout is not None
    assert program.stderr is not None
    assert program.stdout.readline() == "ready\n"
    # As the process sees it.
    seen = Directory(Path(f"/proc/{program.pid}/root{into}"))
    with pytest.raises(OSError, match="No space left"):
        (seen.root / "full").write_bytes(bytes(2 << 20))
    published.send("alpha", 0, 3000)
    told = wait_until(program.stderr.readline, "what is wrong")
    assert "No space left on device" in told
    (seen.root / "full").unlink()
    until_stored(seen, published)
    assert not [name for name in os.listdir(seen.root / "calls") if name.startswith(".")]  # noqa: PTH208
    assert sum(one.rows for manifest in manifests_in(seen) for one in manifest.objects) == 3000
    published.send("alpha", 3000, 3100)
    until_stored(seen, published)
    well(seen, published.engine, published)
    program.terminate()
    place.finish(program)
