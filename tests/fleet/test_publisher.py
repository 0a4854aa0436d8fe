"""Publishing an outbox, step by step, with a real server: nothing is lost, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from errno import ENOSPC
from pathlib import Path

import pytest

from shmperf import stdlib
from shmperf.config.options import Fleet, Options
from shmperf.files import internals
from shmperf.fleet.engine import Away, EngineError
from shmperf.fleet.numbers import Numbers, runs_of
from shmperf.fleet.presence import Presence
from shmperf.fleet.publisher import CONSUMER, Node, Records, Sender
from shmperf.fleet.wire import name_of
from shmperf.fleet.witness import Witness
from shmperf.session.client import Client
from shmperf.session.messages import SidecarReport
from shmperf.storage.consumer import Consumer
from shmperf.storage.origin import origin_of
from shmperf.storage.outbox import Outbox, outbox_of
from tests.support import wait_until

from .broker import Broker, needs_broker
from .taking import Everything, add, fill

needs_broker()

NODE = "node.é"


def call(number: int, **data: object) -> str:
    """A line of the outbox."""
    stamp = "2026-11-29T12:00:00.000000+00:00"
    whole = {"p": '{"query": "mine"}', "d": 0.5, "id": f"{number:016x}", **data}
    return json.dumps(
        {"kind": "call", "tool": "search", "timestamp": stamp, "data": whole}, separators=(",", ":")
    )


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Path]:
    """One whose outbox has a reader, and nothing in it."""
    path = tmp_path / "perf_data"
    consumer = Consumer(path, CONSUMER)
    consumer.register()
    consumer.close()
    return path


class Publishing:
    """A publisher of a test's own, whose clock stands until it is told."""

    def __init__(self, storage: Path, broker: Broker, **options: object) -> None:
        self.now_s = 0.0
        self.engine = broker.connect()
        fleet = Fleet(url="nats://not.used", node=NODE, **options)
        self.records = Records(storage, fleet, self.engine, lambda: self.now_s)

    def all(self) -> Publishing:
        """Publish until nothing waits."""

        def step() -> bool:
            self.now_s += 60.0
            more = self.records.step()
            report = self.records.look()
            return not more and not report.waiting and report.problem is None

        wait_until(step, lambda: f"all lines: {self.records.look()}")
        return self

    def close(self) -> None:
        self.records.close()
        self.engine.close()


Publish = Callable[..., Publishing]


@pytest.fixture
def publish(storage: Path, broker: Broker) -> Iterator[Publish]:
    made: list[Publishing] = []

    def make(**options: object) -> Publishing:
        made.append(Publishing(storage, broker, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def kept(broker: Broker) -> Everything:
    return Everything(broker.connect(), NODE).take()


def test_every_line_is_published_in_order(storage: Path, broker: Broker, publish: Publish) -> None:
    """With its number, under the storage's origin, in batches of a bounded size."""
    texts = [call(number) for number in range(2_500)]
    fill(storage, *texts)
    publishing = publish(arguments=True).all()
    found = kept(broker)
    assert list(found.lines) == [origin_of(storage)]
    (lines,) = found.lines.values()
    assert [lines[number].decode() for number in range(2_500)] == texts
    assert [batch.count for batch in found.batches] == [1_000, 1_000, 500]
    assert {batch.node for batch in found.batches} == {NODE}
    report = publishing.records.look()
    assert (report.sent, report.waiting, report.dropped, report.problem) == (2_500, 0, 0, None)
    assert report.last_sent_s is not None
    (run,) = runs_of(storage)
    assert (run.first, run.after, run.dropped) == (0, 2_500, 0)


def test_parameters_stay_here(storage: Path, broker: Broker, publish: Publish) -> None:
    """But for those who want them elsewhere; all else of a call goes."""
    detailed = call(2, params={"query": "mine"}, duration_ms=3.0, err="KeyError")
    fill(storage, call(1), detailed, '{"kind":"call","tool":1', '{"kind":"totals","tool":"p"}')
    publish().all()
    found = kept(broker)
    assert b"mine" not in b"".join(found.lines[origin_of(storage)].values())
    (first, second) = found.calls
    assert first["data"] == {"d": 0.5, "id": f"{1:016x}"}
    assert (second["data"]["err"], second["data"]["duration_ms"]) == ("KeyError", 3.0)
    # One that can't be read is not sent as it is.
    assert sorted(found.lines[origin_of(storage)]) == [0, 1, 3]
    assert found.have[origin_of(storage)].encode() == [(0, 4)]


def test_without_records_their_numbers_are_covered(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """Totals and alerts go, calls do not, and no number is missing for who looks."""
    calls = [call(number) for number in range(3_000)]
    fill(storage, *calls, '{"kind":"totals"}', *calls, '{"kind":"alert"}')
    publish(records=False).all()
    found = kept(broker)
    (lines,) = found.lines.values()
    assert sorted(lines) == [3_000, 6_001]
    assert found.have[origin_of(storage)].encode() == [(0, 6_002)]
    assert len(found.batches) == 1


def test_a_broker_that_is_away_loses_nothing(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """It is told; what comes meanwhile waits, and goes when it is back, in order."""
    outbox = fill(storage, call(0))
    publishing = publish()
    publishing.all()
    broker.kill()
    for number in range(1, 20):
        add(outbox, call(number))
        publishing.now_s += 60.0
        publishing.records.step()
    report = publishing.records.look()
    assert report.waiting == 19
    assert report.problem is not None
    assert broker.address in report.problem
    broker.start()
    publishing.all()
    found = kept(broker)
    assert [one["data"]["id"] for one in found.calls] == [f"{n:016x}" for n in range(20)]
    assert found.have[origin_of(storage)].encode() == [(0, 20)]


def test_a_broker_that_hangs_keeps_nobody(storage: Path, broker: Broker, publish: Publish) -> None:
    """It is told after some seconds; once it goes on, what it had not answered counts once."""
    outbox = fill(storage, call(0))
    publishing = publish().all()
    broker.signal(signal.SIGSTOP)
    add(outbox, *map(call, range(1, 3_000)))
    assert not publishing.records.step()
    report = publishing.records.look()
    assert report.waiting == 2_999
    assert "no answer in time" in (report.problem or "")
    broker.signal(signal.SIGCONT)
    publishing.all()
    found = kept(broker)
    assert [one["data"]["id"] for one in found.calls] == [f"{n:016x}" for n in range(3_000)]
    assert found.have[origin_of(storage)].encode() == [(0, 3_000)]


def test_what_the_spool_can_not_hold_is_counted(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """In the report, in the run, and for whoever stores: by the batch that comes behind it."""
    publishing = publish()
    broker.stop()
    outbox = fill(storage, most_bytes=200_000)
    for number in range(0, 20_000, 100):
        add(outbox, *map(call, range(number, number + 100)), most_bytes=200_000)
    broker.start()
    publishing.all()
    found = kept(broker)
    (lines,) = found.lines.values()
    dropped = min(lines)
    assert 0 < dropped < 20_000
    assert found.batches[0].dropped == dropped
    assert len(lines) == 20_000 - dropped
    assert publishing.records.look().dropped == dropped
    (run,) = runs_of(storage)
    assert (run.first, run.after, run.dropped) == (0, 20_000, dropped)


def test_what_could_not_be_written_is_told_with_the_next_line(
    storage: Path, broker: Broker, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers that are passed over while there is no other line: dropped, and never missing."""
    outbox = fill(storage, *map(call, range(5)))
    publishing = publish().all()
    with monkeypatch.context() as full:

        def refuse(*_: object) -> int:
            raise OSError(ENOSPC, "No space left on device")

        full.setattr(Outbox, "_write", refuse)
        add(outbox, *map(call, range(5, 12)))
    assert not publishing.records.step()
    report = publishing.records.look()
    assert (report.sent, report.waiting, report.dropped) == (5, 0, 7)
    # A session that ends here leaves it to the next one.
    publishing.close()
    another = publish()
    add(outbox, *map(call, range(12, 16)))
    another.all()
    found = kept(broker)
    assert [(batch.first, batch.count, batch.dropped) for batch in found.batches] == [
        (0, 5, 0),
        (12, 4, 7),
    ]
    report = another.records.look()
    assert (report.waiting, report.dropped) == (0, 7)
    (run,) = runs_of(storage)
    assert (run.after, run.dropped) == (16, 7)


def test_another_publisher_goes_on(storage: Path, broker: Broker, publish: Publish) -> None:
    """What was kept and not acknowledged comes again, and is known by its numbers."""
    texts = [call(number) for number in range(1_500)]
    # Files so long that more of them is appended to the same one.
    outbox = fill(storage, *texts, most_bytes=1 << 28)
    cursor = outbox_of(storage) / f"{CONSUMER}.cursor"
    before = cursor.read_bytes()
    publish().all().close()
    cursor.write_bytes(before)
    add(outbox, *(call(number) for number in range(1_500, 1_600)), most_bytes=1 << 28)
    publish().all()
    found = kept(broker)
    assert [one["data"]["id"] for one in found.calls] == [f"{n:016x}" for n in range(1_600)]
    # The first cut was the same, and the server knew it; the second one has more than before.
    assert [batch.first for batch in found.batches] == [0, 1_000, 1_000]
    assert len(runs_of(storage)) == 1


def test_numbers_that_begin_anew_are_others(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """A deleted outbox, a copied storage: the same numbers, another origin, and no line is lost."""
    fill(storage, call(0), call(1), call(2))
    publish().all().close()
    shutil.rmtree(outbox_of(storage))
    consumer = Consumer(storage, CONSUMER)
    consumer.register()
    consumer.close()
    fill(storage, call(3), call(4))
    publish().all().close()
    copy = storage.with_name("copy")
    shutil.copytree(storage, copy)
    fill(copy, call(5))
    fill(storage, call(6))
    publish().all()
    other = Publishing(copy, broker)
    other.all().close()
    found = kept(broker)
    ids = sorted(int(one["data"]["id"], 16) for one in found.calls)
    assert ids == [0, 1, 2, 3, 4, 5, 6]
    assert len(found.lines) == 3
    assert next(iter(found.lines)) == origin_of(storage) == origin_of(copy)
    assert [run.after for run in runs_of(copy)] == [3, 2, 3]


def put_back(storage: Path, saved: dict[Path, bytes]) -> None:
    """All files as they were, in the same directories, as a snapshot or rsync leaves them."""
    for path in internals(storage).rglob("*"):
        if path.is_file() and path not in saved:
            path.unlink()
    for path, content in saved.items():
        path.write_bytes(content)


def test_a_storage_that_was_put_back_where_it_lies_loses_nothing(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """With all that it knew of what it had published: what the broker was told is still there."""
    fill(storage, *map(call, range(100)))
    publish().all().close()
    saved = {path: path.read_bytes() for path in internals(storage).rglob("*") if path.is_file()}
    fill(storage, *map(call, range(100, 500)))
    publish().all().close()
    for turn, first in enumerate((1_000, 2_000)):
        put_back(storage, saved)
        # Beyond what it knew to be published, and short of what was.
        fill(storage, *map(call, range(first, first + 150)))
        publish().all().close()
        assert [run.after for run in runs_of(storage)] == [100, 250], turn
    found = kept(broker)
    ids = sorted(int(one["data"]["id"], 16) for one in found.calls)
    assert ids == [*range(500), *range(1_000, 1_150), *range(2_000, 2_150)]
    assert [have.encode() for have in found.have.values()] == [
        [(0, 500)],
        [(0, 150)],
        [(0, 150)],
    ]
    # What such a run did not begin with is in none of its numbers.
    (outbox_of(storage) / f"{CONSUMER}.cursor").write_bytes(b"damaged")
    publish().all().close()
    found.take()
    assert {one["data"]["id"] for one in found.calls} == {f"{number:016x}" for number in ids}
    assert runs_of(storage)[-1].first < 100


def test_a_memory_that_was_put_back_gives_no_number_out_again(
    storage: Path, broker: Broker
) -> None:
    """A machine's snapshot has its publisher, too; two of them at once are told apart."""
    fill(storage, *map(call, range(1_000)))
    engine = broker.connect()
    wait_until(lambda: engine.open().partitions, "the stream")
    origin = origin_of(storage)
    first = Numbers(storage, Witness(engine))
    assert first.reach(0, 100, 0).origin == origin
    witness = Witness(engine)
    second = Numbers(storage, witness)
    assert second.reach(50, 100, 0).origin == origin
    assert first.reach(100, 150, 0).origin == origin
    # Its connection is the one that it had: only the compare-and-set is in its way.
    other = second.reach(100, 200, 0).origin
    assert other != origin
    assert second.reach(200, 250, 0).origin == other
    assert first.reach(150, 300, 0).origin == origin
    witness.doubt()
    assert second.reach(250, 260, 0).origin == other


def test_lines_are_on_the_disk_before_their_numbers_are_given_out(
    storage: Path, broker: Broker, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power failure leaves no outbox that ends before what was published."""
    publishing = publish().all()
    fill(storage, call(0))
    synced, sync = list[str](), os.fsync

    def note(fd: int) -> None:
        stream = publishing.engine.look()
        assert stream is not None
        assert stream.messages == 0
        synced.append(Path(f"/proc/self/fd/{fd}").readlink().name)
        sync(fd)

    with monkeypatch.context() as noting:
        noting.setattr(os, "fsync", note)
        # What the product's lowest rooms go by.
        noting.setattr(stdlib.os, "fsync", note)
        publishing.all()
    assert synced[-5:] == [
        f"{0:016d}.jsonl",
        "committed",
        "outbox",
        ".fleet-numbers.new",
        ".shmperf",
    ]
    assert len(kept(broker).calls) == 1


def test_a_line_that_no_message_holds_is_counted(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """It is told and left out, and what comes behind it goes."""
    broker.stop()
    broker.more = "max_payload: 8192"
    broker.start()
    noise = "".join(
        chr(33 + 7 * number % 57) + f"{number * 7919 % 1013}" for number in range(9_000)
    )
    small = [call(number, where=f"{number * 7919 % 1013}" * 9) for number in range(500)]
    fill(storage, *small, call(500, error=noise), call(501))
    publishing = publish().all()
    found = kept(broker)
    assert len(found.calls) == 501
    assert found.have[origin_of(storage)].encode() == [(0, 502)]
    report = publishing.records.look()
    assert report.dropped == 1
    assert report.last_error is not None
    assert "left out" in report.last_error


def test_a_stream_of_another_version_is_told(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """Nothing is published into it, and nothing is lost; it is looked at again, seldom."""
    broker.make_stream("shmperf", "shmperf/2 partitions=16")
    fill(storage, call(0))
    publishing = publish()
    assert not publishing.records.step()
    report = publishing.records.look()
    assert report.problem is not None
    assert "version 2, expected 1" in report.problem
    assert (report.waiting, report.sent) == (1, 0)
    assert not publishing.records.pause.is_over
    publishing.now_s += 29.0
    assert not publishing.records.pause.is_over
    publishing.now_s += 2.0
    assert publishing.records.pause.is_over


def test_a_full_server_refuses_and_loses_nothing(
    storage: Path, broker: Broker, publish: Publish
) -> None:
    """It says so; when there is room again, all goes."""
    publishing = publish()
    publishing.engine.open()
    broker.change_stream("shmperf", max_bytes=2_000, discard="new")
    outbox = fill(storage, *(call(number) for number in range(2_000)))

    def is_refused() -> bool:
        publishing.now_s += 60.0
        publishing.records.step()
        return "maximum" in (publishing.records.look().problem or "")

    wait_until(is_refused, "the server to be full")
    add(outbox, call(2_000))
    broker.change_stream("shmperf", max_bytes=-1, discard="old")
    publishing.all()
    found = kept(broker)
    assert [one["data"]["id"] for one in found.calls] == [f"{n:016x}" for n in range(2_001)]
    assert isinstance(outbox, Outbox)


class Hesitant:
    """A turn that has its word ready, and can say the last one only at the third try."""

    problem = None

    def __init__(self) -> None:
        self.tries, self.said = 0, 0

    def step(self, report: SidecarReport) -> None:
        self.said += 1

    def finish(self, report: SidecarReport) -> None:
        self.tries += 1
        if self.tries < 3:
            raise Away("the broker: no answer in time")


def test_a_last_word_is_tried_again_and_no_turn_begins_behind_the_end(
    storage: Path, broker: Broker
) -> None:
    """Nobody comes back to it: what was in the way of it is waited for, lines come first."""
    outbox = fill(storage, call(0))
    node = Node(
        NODE,
        storage,
        Options(fleet=Fleet(url=broker.url, node=NODE)),
        broker.connect(),
        Client(storage),
    )
    turn, waits = Hesitant(), list[float]()
    is_over = False
    sender = Sender(node, [turn], lambda: is_over, waits.append)
    wait_until(lambda: not sender.step() and turn.said, lambda: str(sender.report()))
    is_over, said = True, turn.said
    add(outbox, call(1))
    sender.step()
    assert turn.said == said
    sender.finish()
    assert (turn.tries, len(waits)) == (3, 2)
    (lines,) = kept(broker).lines.values()
    assert sorted(lines) == [0, 1]


def test_a_bucket_that_was_deleted_is_made_again(storage: Path, broker: Broker) -> None:
    """By a publisher that goes on: no records need fail before."""
    engine = broker.connect()
    node = Node(NODE, storage, Options(fleet=Fleet(node=NODE)), engine, Client(storage))
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 60.0
        return now_s

    sender = Sender(node, [Presence(engine, NODE, origin_of(storage), clock)])
    place = name_of(NODE)

    def is_told() -> bool:
        sender.step()
        try:
            return engine.get("presence", place) is not None
        except EngineError:
            return False

    wait_until(is_told, lambda: str(sender.report()))
    broker.delete("KV_shmperf_presence")
    wait_until(is_told, lambda: str(sender.report()))
    sender.finish()
