"""
Publishing to a fleet's broker: records a second, CPU a record, and what batches are worth.

A made outbox goes to a nats-server of its own, on this machine and with nothing else to do, as the
publisher does it; beside it every record as a message of its own, as many under way at once as a
batch has records. CPU is that of the process that publishes, and the server's beside it.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from shmperf.config.options import Fleet
from shmperf.fleet.cutting import shown_line
from shmperf.fleet.engine import Engine, Kept, Message
from shmperf.fleet.publisher import CONSUMER, Records
from shmperf.fleet.reach import engine_of
from shmperf.fleet.wire import subject_of
from shmperf.storage.consumer import Consumer
from shmperf.storage.lines import jsonl
from shmperf.storage.outbox import Outbox, call_lines

from .history import made_calls
from .measure import Row, cpu_s, ratio, row_of, wait_until

__all__ = ["broker", "publishing"]

_UP_S = 30.0
_UNDER_WAY = 1_000
_TARGET_PER_S = 20_000.0
_OUTBOX_BYTES = 1 << 30


class _Costs(NamedTuple):
    """Of one run: records a second, microseconds of CPU a record, bytes a record at the broker."""

    per_s: float
    own_us: float
    server_us: float
    size: float


def publishing(*, quick: bool) -> list[Row]:
    """The rows; none where there is no nats-server."""
    if shutil.which("nats-server") is None:
        return []
    rounds, count, single = (1, 20_000, 5_000) if quick else (5, 200_000, 20_000)
    batches, whole, singles = (list[_Costs]() for _ in range(3))
    for _ in range(rounds):
        batches.append(_run(count, lambda *place: _batches(*place, arguments=False)))
        whole.append(_run(count, lambda *place: _batches(*place, arguments=True)))
        singles.append(_run(single, _singly))
    return [
        *_rows("batches", batches, _TARGET_PER_S),
        *_rows("batches, with parameters", whole),
        *_rows("one message a record", singles),
        ratio(
            "batches against single messages: records/s",
            [one.per_s for one in batches],
            [one.per_s for one in singles],
        ),
        ratio(
            "single messages against batches: CPU, server's included",
            [one.own_us + one.server_us for one in singles],
            [one.own_us + one.server_us for one in batches],
        ),
    ]


def _rows(name: str, found: list[_Costs], target: float | None = None) -> Iterator[Row]:
    rates = [one.per_s for one in found]
    yield row_of(f"{name}: published", rates, "records/s", target=target, at_least=True)
    yield row_of(f"{name}: CPU of the publisher", [one.own_us for one in found], "µs a record")
    yield row_of(f"{name}: CPU of the server", [one.server_us for one in found], "µs a record")
    yield row_of(f"{name}: size at the server", [one.size for one in found], "bytes a record")


def _run(count: int, publish: Callable[[Path, Fleet, Engine], int]) -> _Costs:
    with tempfile.TemporaryDirectory(prefix="shmperf-bench-") as directory:
        storage = Path(directory) / "perf_data"
        _fill(storage, count)
        with broker(Path(directory)) as (url, pid):
            fleet = Fleet(url=url, node="bench")
            with closing(engine_of(fleet, {}, "bench")) as engine:
                engine.open()
                begun_s, own_s, server_s = time.perf_counter(), time.process_time(), cpu_s(pid)
                done = publish(storage, fleet, engine)
                took_s = time.perf_counter() - begun_s
                own_s, server_s = time.process_time() - own_s, cpu_s(pid) - server_s
                stream = engine.look()
    assert done == count, f"{done:,} of {count:,} were published"
    assert stream is not None
    return _Costs(
        count / took_s, own_s / count * 1e6, server_s / count * 1e6, stream.size_bytes / count
    )


def _fill(storage: Path, count: int) -> None:
    """An outbox of so many calls, with a reader."""
    consumer = Consumer(storage, CONSUMER)
    consumer.register()
    consumer.close()
    outbox, rng = Outbox(storage), random.Random(1)  # noqa: S311  the same every time
    for first in range(0, count, 1_000):
        outbox.prepare(_OUTBOX_BYTES)
        outbox.append(call_lines(jsonl(made_calls(first, 1_000, rng))))
    outbox.commit()


def _batches(storage: Path, fleet: Fleet, engine: Engine, *, arguments: bool) -> int:
    """As the sidecar does."""
    options = Fleet(url=fleet.url, node=fleet.node, arguments=arguments)
    records = Records(storage, options, engine)
    while records.step():
        pass
    assert records.report.problem is None, records.report.problem
    records.close()
    return records.report.sent


def _singly(storage: Path, fleet: Fleet, engine: Engine) -> int:
    """What it would cost without batches."""
    consumer = Consumer(storage, CONSUMER)
    consumer.register()
    subject, under_way, done = subject_of(fleet.stream, fleet.node, 16), deque[Future[Kept]](), 0
    while (lines := consumer.read()) is not None:
        for number, line in enumerate(lines.lines, lines.number):
            body = shown_line(line, records=True, arguments=False)
            under_way.append(engine.publish(Message(subject, str(number), body)))
            if len(under_way) == _UNDER_WAY:
                under_way.popleft().result()
        done += len(lines.lines)
        consumer.acknowledge(lines)
    for one in under_way:
        one.result()
    consumer.close()
    return done


@contextmanager
def broker(directory: Path) -> Iterator[tuple[str, int]]:
    """One with JetStream, in *directory* and on a free port: its URL and its pid."""
    configuration = directory / "nats.conf"
    configuration.write_text(
        f'listen: "127.0.0.1:-1"\nports_file_dir: "{directory}"\n'
        f'jetstream {{ store_dir: "{directory}/kept" }}\n'
    )
    log = directory / "nats.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            ["nats-server", "-c", str(configuration)],  # noqa: S607  found above, on the path
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        assert wait_until(lambda: "Server is ready" in log.read_text(), _UP_S), log.read_text()
        assert wait_until(lambda: _ports(directory).endswith("}"), _UP_S), log.read_text()
        yield json.loads(_ports(directory))["nats"][0], server.pid
    finally:
        server.kill()
        server.wait()


def _ports(directory: Path) -> str:
    """What the server says of its ports, as far as it has written it."""
    return "".join(path.read_text() for path in directory.glob("*.ports"))
