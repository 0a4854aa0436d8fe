"""Real collectors over a real server: whatever happens to them, each line is stored once."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest

from bench.faults.points import points_in
from shmperf.fleet.checking import check
from shmperf.fleet.engine import EngineError
from shmperf.fleet.manifest import Manifest, Manifests, manifests_in
from shmperf.fleet.objects import Directory
from shmperf.fleet.reading import opened_records
from shmperf.fleet.wire import VERSION, encode
from tests.support import Place, needs, outputs, wait_until

from .broker import Broker, needs_broker
from .storing import Publishing, collect, nodes_of, numbers_in, until_stored, well

needs_broker()
needs("duckdb")

NODES = ("alpha", "beta", "gamma", "delta")
# Lists are written where there are thousands of objects.
POINTS = sorted(
    points_in(
        "fleet/objects.py",
        "fleet/manifest.py",
        "fleet/leases.py",
        "fleet/holding.py",
        "fleet/feed.py",
    )
    - {"fleet-list"}
)


@pytest.fixture
def published(broker: Broker) -> Publishing:
    return Publishing(broker.connect())


@pytest.fixture
def into(tmp_path: Path) -> Directory:
    return Directory(tmp_path / "into")


def finish(place: Place, broker: Broker, into: Directory, **spec: object) -> None:
    """Collect until nothing waits."""
    place.finish(collect(place, broker.url, into.root, until_empty=True, **spec))


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_every_line_is_a_row_once(
    place: Place, broker: Broker, published: Publishing, into: Directory, form: str
) -> None:
    """Of all nodes and days, in either form, as the files and `check` say."""
    for node in NODES:
        published.send(node, 0, 300, days=3)
    finish(place, broker, into, terms={"form": form})
    found = well(into, published.engine, published)
    assert {one.node for one in found.nodes} == set(NODES)
    names = [one.name for manifest in manifests_in(into) for one in manifest.objects]
    assert all(name.startswith("calls/day=2026-01-0") for name in names)
    with opened_records(into) as database:
        rows = database.query(
            "SELECT node, count(*), count(DISTINCT id), min(ms), min(timestamp)::VARCHAR "
            "FROM calls GROUP BY node ORDER BY node"
        ).rows
        assert list(rows) == [
            (node, 300, 300, 10.0, "2026-01-01 10:00:00.123456+00") for node in sorted(NODES)
        ]


@pytest.mark.parametrize("point", POINTS)
def test_killed_at_each_point_the_next_one_goes_on(
    place: Place, broker: Broker, published: Publishing, into: Directory, point: str
) -> None:
    """Before and after each step of taking over, writing and committing; nothing twice."""
    for node in NODES:
        published.send(node, 0, 200)
    nth = 3 if point in ("fleet-write", "fleet-renamed", "fleet-object", "fleet-manifest") else 1
    first = collect(place, broker.url, into.root, until_empty=True, point=point, nth=nth)
    # What needs a taking over is reached by the second one.
    outputs(first)
    for node in NODES:
        published.send(node, 200, 260)
    second = collect(place, broker.url, into.root, until_empty=True, point=point, nth=nth)
    outputs(second)
    assert -signal.SIGKILL in (first.returncode, second.returncode)
    finish(place, broker, into)
    well(into, published.engine, published)


def test_a_crash_repeats_the_same_objects(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """Killed before its commit, it has written what the next one writes, under the same names."""
    published.send("alpha", 0, 200, days=4)
    died = collect(place, broker.url, into.root, point="fleet-commit")
    outputs(died)
    written = set(into.names("calls"))
    assert len(written) == 4
    published.send("alpha", 200, 230, days=4)
    finish(place, broker, into)
    well(into, published.engine, published)
    named = {one.name for manifest in manifests_in(into) for one in manifest.objects}
    assert written < named
    assert set(into.names("calls")) == named


def test_a_holder_that_was_stopped_commits_nothing(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """SIGSTOP just before its commit, for longer than its lease; continued, it is refused."""
    published.send("alpha", 0, 100)
    stale = collect(place, broker.url, into.root, point="fleet-commit", action="stop")
    wait_until(lambda: _state(stale.pid) == "T", "the collector to stop")
    assert not any(manifest.objects for manifest in _in_force(into, published))
    other = collect(place, broker.url, into.root)
    wait_until(lambda: any(m.objects for m in _in_force(into, published)), "the other's commit")
    taken = wait_until(lambda: _in_force(into, published), "an answer")
    published.send("alpha", 100, 150)
    os.kill(stale.pid, signal.SIGCONT)
    until_stored(into, published)
    published.send("beta", 0, 100)
    until_stored(into, published)
    assert min(manifest.epoch for manifest in taken if manifest.objects) > 1
    for one in (stale, other):
        one.terminate()
        place.finish(one)
    well(into, published.engine, published)


def test_collectors_share_the_work_and_take_over(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """Three; one is killed, one is stopped and continued; lines come all the while."""
    nodes = nodes_of(range(0, 16, 2))
    collectors = [collect(place, broker.url, into.root) for _ in range(3)]
    sent = 0

    def send() -> None:
        nonlocal sent
        for node in nodes:
            published.send(node, sent, sent + 40)
        sent += 40

    send()
    until_stored(into, published)
    collectors[0].kill()
    send()
    os.kill(collectors[1].pid, signal.SIGSTOP)
    send()
    until_stored(into, published)
    os.kill(collectors[1].pid, signal.SIGCONT)
    send()
    until_stored(into, published)
    for one in collectors[1:]:
        one.terminate()
        place.finish(one)
    well(into, published.engine, published)


def test_the_broker_is_killed_and_comes_back(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """Whoever collects goes on; what was taken and not stored is stored once."""
    collector = collect(place, broker.url, into.root)
    for turn in range(3):
        published.send("alpha", 100 * turn, 100 * turn + 100)
        if turn != 1:
            until_stored(into, published)
        broker.kill()
        broker.start()
        wait_until(lambda: _answers(published), "the connection")
    until_stored(into, published)
    collector.terminate()
    place.finish(collector)
    well(into, published.engine, published)


def test_a_broker_that_comes_up_later_is_waited_for(
    place: Place, broker: Broker, into: Directory
) -> None:
    """Told once; who is to end when nothing waits ends with it, and a signal ends the waiting."""
    broker.stop()
    words = ("fleet", "collect", "--into", str(into.root), "--every", "1", "--url", broker.url)
    refused = place.start_module(*words, "--until-empty")
    assert "127.0.0.1" in outputs(refused)[1]
    assert refused.returncode == 1
    waiting, other = place.start_module(*words), place.start_module(*words)
    for one in (waiting, other):
        assert one.stderr is not None
        assert "tried again until it is there" in one.stderr.readline()
    other.terminate()
    assert outputs(other)[1] == "shmperf: stored 0 lines\n"
    assert other.returncode == 0
    broker.start()
    published = Publishing(broker.connect())
    published.send("alpha", 0, 20)
    until_stored(into, published)
    waiting.terminate()
    assert "stored 20 lines" in outputs(waiting)[1]
    assert waiting.returncode == 0


def test_the_same_lines_in_other_cuts_are_nothing_new(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """By other ids, which the broker takes for news; before and after they were stored."""
    published.send("alpha", 0, 100, cut=30)
    published.send("alpha", 20, 120, cut=7, ids="again-")
    finish(place, broker, into)
    well(into, published.engine, published)
    published.send("alpha", 0, 160, cut=33, ids="later-")
    finish(place, broker, into)
    well(into, published.engine, published)


def test_what_is_no_batch_is_counted_and_told(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """Foreign bytes, a newer version, damaged lines, another node's partition; others go on."""
    body = encode("alpha", b"alpha".ljust(16, b"."), 1000, [b"{}"])
    newer = msgspec.msgpack.decode(body)
    newer[0] = VERSION + 1
    damaged = msgspec.msgpack.decode(body)
    damaged[7] = damaged[7][:-3]
    for name, bad in {
        "empty": b"",
        "text": b"hello",
        "newer": msgspec.msgpack.encode(newer),
        "damaged": msgspec.msgpack.encode(damaged),
        "astray": encode(nodes_of([5])[0], b"o" * 16, 0, [b"{}"]),
    }.items():
        published.send_raw("alpha", bad, name)
    published.send("alpha", 0, 50)
    collector = collect(place, broker.url, into.root, until_empty=True)
    place.finish(collector)
    told = collector.error_text  # type: ignore[attr-defined]
    assert "found a batch of version" in told
    found = well(into, published.engine, published)
    assert found.refused == {"foreign": 2, "newer": 1, "damaged": 2}
    # Counted once, whoever looks again.
    finish(place, broker, into)
    assert check(into, published.engine).refused == found.refused


def test_lines_of_no_kind_are_kept_as_text(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """A newer node's lines, and damaged ones, are rows of `others`."""
    origin = b"x" * 16
    lines = [b'{"kind":"newer","x":1}', b"garbage \xff", b'{"kind":"call","tool":[]}', b"[" * 9000]
    published.send_raw("alpha", encode("alpha", origin, 0, lines), "odd")
    finish(place, broker, into)
    found = check(into, published.engine)
    assert (found.ok, found.nodes[0].stored) == (True, 4)
    with opened_records(into) as database:
        texts = [text for (text,) in database.query("SELECT line FROM others ORDER BY number").rows]
    assert texts[0] == '{"kind":"newer","x":1}'
    assert texts[1] == "garbage \\xff"


def test_what_the_stream_has_let_go_is_counted_by_node(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """A collector that was away longer than the stream keeps anything says whose lines are gone."""
    published.send("alpha", 0, 100)
    published.send("beta", 0, 100)
    finish(place, broker, into)
    well(into, published.engine, published)
    published.send("alpha", 100, 200)
    broker.purge("shmperf")
    published.send("alpha", 200, 250)
    published.send("gamma", 50, 100)
    collector = collect(place, broker.url, into.root, until_empty=True)
    place.finish(collector)
    assert "alpha: 100 lines are missing" in collector.error_text  # type: ignore[attr-defined]
    found = check(into, published.engine)
    missing = {one.node: one.missing for one in found.nodes}
    assert missing == {"alpha": 100, "beta": 0, "gamma": 50}
    assert not found.ok
    assert max(numbers_in(into).values()) == 1


def test_what_a_node_dropped_is_not_missing(
    place: Place, broker: Broker, published: Publishing, into: Directory
) -> None:
    """It said so itself; and lines that it left out on purpose are no rows."""
    published.send("alpha", 0, 100)
    published.send("alpha", 150, 200, dropped=50, cut=100)
    published.send_raw(
        "alpha", encode("alpha", b"alpha".ljust(16, b"."), 200, [b"", b"", b'{"kind":"x"}']), "left"
    )
    finish(place, broker, into)
    (found,) = check(into, published.engine).nodes
    assert (found.stored, found.dropped, found.left_out, found.missing) == (151, 50, 2, 0)
    assert found.is_well


def test_a_broker_that_lost_everything_is_taken_up_from_what_lies_there(
    place: Place, broker: Broker, tmp_path: Path, into: Directory
) -> None:
    """Its buckets are empty and its stream begins anew: nothing is stored twice."""
    published = Publishing(broker.connect())
    published.send("alpha", 0, 100)
    finish(place, broker, into)
    other = Broker(tmp_path / "other")
    try:
        other.start()
        again = Publishing(other.connect())
        again.send("alpha", 50, 180)
        again.lines.update(dict.fromkeys(published.lines - again.lines, 1))
        finish(place, other, into)
        assert numbers_in(into) == again.lines
    finally:
        other.close()


def _state(pid: int) -> str:
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()[0]


def _in_force(into: Directory, published: Publishing) -> list[Manifest]:
    """By the broker; none while it is slow to answer."""
    try:
        return Manifests(published.engine, into).in_force()
    except EngineError:
        return []


def _answers(published: Publishing) -> bool:
    try:
        return published.engine.look() is not None
    except EngineError:
        return False
