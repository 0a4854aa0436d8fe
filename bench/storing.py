"""
Storing what a fleet publishes: records a second, CPU a record, bytes a record, by one collector.

What nodes have published waits in a nats-server of its own, on this machine and with nothing else
to do; a collector in this process takes it, writes Parquet into a directory, with every fsync that
it makes, and commits. A second one that comes later finds it all again, in other messages: that is
what it costs to know a line that is there.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from shmperf.config.options import Fleet
from shmperf.fleet.checking import check
from shmperf.fleet.collecting import Collector, Terms
from shmperf.fleet.cutting import shown_line
from shmperf.fleet.engine import Engine, Message
from shmperf.fleet.manifest import manifests_in
from shmperf.fleet.objects import Directory
from shmperf.fleet.reach import engine_of
from shmperf.fleet.wire import MOST_LINES, encode, message_id, subject_of
from shmperf.storage.lines import jsonl
from shmperf.storage.outbox import call_lines

from .history import made_calls
from .measure import Row, cpu_s, row_of
from .publishing import broker

__all__ = ["storing"]

_NODES = 8
_TARGET_PER_S = 20_000.0


class _Costs(NamedTuple):
    """Of one run: records a second, microseconds of CPU a record, bytes a record on disk."""

    per_s: float
    own_us: float
    server_us: float
    size: float


def storing(*, quick: bool) -> list[Row]:
    """The rows; none where there is no nats-server."""
    if shutil.which("nats-server") is None:
        return []
    rounds, count = (1, 40_000) if quick else (5, 400_000)
    runs = [_run(count) for _ in range(rounds)]
    new, again = [one for one, _ in runs], [one for _, one in runs]
    return [*_rows("new", new), *list(_rows("known already", again))[:2]]


def _rows(name: str, found: list[_Costs]) -> Iterator[Row]:
    rates = [one.per_s for one in found]
    target = _TARGET_PER_S if name == "new" else None
    yield row_of(f"{name}: taken", rates, "records/s", target=target, at_least=True)
    yield row_of(f"{name}: CPU of the collector", [one.own_us for one in found], "µs a record")
    yield row_of(f"{name}: CPU of the server", [one.server_us for one in found], "µs a record")
    yield row_of(f"{name}: Parquet", [one.size for one in found], "bytes a record")


def _run(count: int) -> tuple[_Costs, _Costs]:
    """What new lines cost, and the same ones again."""
    with tempfile.TemporaryDirectory(prefix="shmperf-bench-") as directory:
        into = Directory(Path(directory) / "into")
        with broker(Path(directory)) as (url, pid), closing(_engine(url)) as engine:
            found = []
            for turn in range(2):
                _publish(engine, count, f"{turn}-")
                found.append(_collect(engine, into, count, pid))
            checked = check(into, engine)
    assert checked.ok, checked
    assert sum(one.stored for one in checked.nodes) == count
    return found[0], found[1]


def _engine(url: str) -> Engine:
    return engine_of(Fleet(url=url), {}, "bench")


def _publish(engine: Engine, count: int, ids: str) -> None:
    """Lines of some nodes, as they are published."""
    engine.open()
    rng = random.Random(1)  # noqa: S311  the same every time
    each = count // _NODES
    under_way = []
    for first in range(0, each, MOST_LINES):
        lines = [
            shown_line(line, records=True, arguments=False)
            for line in call_lines(jsonl(made_calls(first, MOST_LINES, rng))).splitlines()
        ][: each - first]
        for number in range(_NODES):
            node, origin = f"node-{number}", bytes([number]) * 16
            name = ids + message_id(origin, first, len(lines))
            body = encode(node, origin, first, lines)
            under_way.append(engine.publish(Message(subject_of("shmperf", node, 16), name, body)))
    for one in under_way:
        one.result()


def _collect(engine: Engine, into: Directory, count: int, pid: int) -> _Costs:
    begun_s, own_s, server_s = time.perf_counter(), time.process_time(), cpu_s(pid)
    collector = Collector(engine, "shmperf", into, Terms(every_s=1.0, lease_s=0.5), _unheard)
    collector.run(threading.Event(), until_empty=True)
    took_s = time.perf_counter() - begun_s
    own_s, server_s = time.process_time() - own_s, cpu_s(pid) - server_s
    size = sum(one.size for manifest in manifests_in(into) for one in manifest.objects)
    return _Costs(count / took_s, own_s / count * 1e6, server_s / count * 1e6, size / count)


def _unheard(text: str) -> None:
    raise AssertionError(text)
