"""
How many records a second the collector takes, and where its time goes.

Records a second of CPU time, so that nothing waits for a disk or another process; threads that
write are counted too. A stage's time is its own, without the stages that it calls.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from threading import get_ident
from typing import Any

from shmperf.analysis.calltree import CallTree
from shmperf.analysis.limits import Newest
from shmperf.analysis.totals import Totals
from shmperf.collector.cycle import Collector
from shmperf.collector.drain import WorkerDrain
from shmperf.collector.frames import Frames
from shmperf.collector.ingest import Ingest
from shmperf.shm.ring import Batch, Marks, RingReader
from shmperf.storage import history
from shmperf.storage.journal import Journal
from shmperf.storage.state import Ledger
from shmperf.storage.writer import Disk

from .measure import Row, Series, pinned, row_of
from .paths import by_path, side_by_side
from .rig import Rig, rig_of

__all__ = ["drain"]

_TOOLS = (1, 10, 100, 1_000)
_WORKERS = (1, 10, 50, 200)
_RECORDS = 6_000
_TOGETHER = 10

Fill = Callable[[Rig], None]


def drain(*, quick: bool) -> list[Row]:
    """The rows."""
    with pinned():
        return _rows(quick=quick)


def _rows(*, quick: bool) -> list[Row]:
    rounds = 20 if quick else 60
    rows = _rates(rounds // 2) + _by_path(rounds // 2)
    for limit in (100, -1):
        rows += _stages(rounds, limit)
    for limit in (100, -1):
        for tools in (1, 1_000) if quick else _TOOLS:
            rows.append(_spread(tools, 1, limit, rounds // 6))
        for workers in (50,) if quick else _WORKERS[1:]:
            rows.append(_spread(10, workers, limit, rounds // 6))
    return rows


def _config(limit: int) -> str:
    return f"default_perf_points: {limit}\n"


# What the targets speak of: what is drained, the calls kept, records a second, and how many times
# what Python does.
_WHATS: dict[str, tuple[Fill, int, int, float]] = {
    "limit 100, counted and limited": (Rig.fill_flat, 100, 1_000_000, 2.1),
    "limit 100, settled into trees and journalled": (Rig.fill_families, 100, 600_000, 2.0),
    "limit -1, every record formatted and written": (Rig.fill_flat, -1, 300_000, 3.5),
}


def _rates(rounds: int) -> list[Row]:
    """On the path that runs here."""
    found: Series = {}
    for figures in islice(_rounds(), rounds):
        for name, more in figures.items():
            found.setdefault(name, []).extend(more)
    return [
        row_of(f"drain: {name}", figures, "records/s", target=_WHATS[name][2], at_least=True)
        for name, figures in found.items()
    ]


def _by_path(rounds: int) -> list[Row]:
    found = by_path("bench.drain", rounds)
    targets = {f"drain: {name}": target for name, (_, _, _, target) in _WHATS.items()}
    named = {
        path: {f"drain: {name}": figures for name, figures in series.items()}
        for path, series in found.items()
    }
    return side_by_side(named, "records/s", targets, at_least=True)


def main() -> None:
    """Measure a round in this process for each line that comes in; records a second."""
    with pinned():
        rounds = _rounds()
        for _ in sys.stdin:
            print(json.dumps(next(rounds)), flush=True)


def _rounds() -> Iterator[Series]:
    """Records a second of each kind, in turn."""
    with ExitStack() as stack:
        rigs = {
            name: stack.enter_context(rig_of(_config(limit)))
            for name, (_, limit, _, _) in _WHATS.items()
        }
        while True:
            found: Series = {}
            for name, (fill, limit, _, _) in _WHATS.items():
                fill(rigs[name])
                count, took_s = _drained(rigs[name], writes=limit < 0)
                found[name] = [count / took_s]
            yield found


def _drained(rig: Rig, *, writes: bool) -> tuple[int, float]:
    """How many records were drained, and the CPU time that it took."""
    start_s = time.process_time()
    count = rig.run()
    if writes:
        rig.collector.flush()
    return count, time.process_time() - start_s


# --- by stage -------------------------------------------------------------------------------------


_STAGES: tuple[tuple[str, object, str], ...] = (
    ("read", RingReader, "has_record"),
    ("read", RingReader, "read"),
    ("read", Marks, "read"),
    ("read", WorkerDrain, "read_rows"),
    ("read", WorkerDrain, "is_quiet"),
    ("read", WorkerDrain, "run_pass"),
    ("account", Ingest, "take"),
    ("totals", Totals, "add"),
    ("tree", CallTree, "add"),
    ("tree", CallTree, "pass_done"),
    ("tree", CallTree, "take_delta"),
    ("limits", Batch, "newest"),
    ("limits", Ingest, "_keep"),
    ("limits", Newest, "add"),
    ("limits", Newest, "take"),
    ("decode", Ingest, "take_change"),
    ("state", Ledger, "apply"),
    ("journal", Frames, "commit"),
    ("journal", Disk, "append"),
    ("journal", Journal, "append"),
    ("journal", Journal, "replace"),
    ("format", history, "jsonl"),
    ("write", Collector, "flush"),
    ("write", history.History, "prepare_all"),
    ("write", history.History, "append_all"),
)


def _stages(rounds: int, limit: int) -> list[Row]:
    """Where the time goes, by wrapping what each stage calls once a batch or once a frame."""
    names = list(dict.fromkeys(name for name, _, _ in _STAGES))
    figures: dict[str, list[float]] = {name: [] for name in [*names, "the rest"]}
    with ExitStack() as stack:
        rig = stack.enter_context(rig_of(_config(limit)))
        spent = stack.enter_context(_counting())
        for _ in range(rounds // _TOGETHER):
            # With a limit a drain is rarely followed by a write: once in so many here.
            spent.clear()
            count, took_s = 0, 0.0
            for number in range(_TOGETHER):
                rig.fill_families()
                writes = limit < 0 or number == _TOGETHER - 1
                drained, more_s = _drained(rig, writes=writes)
                count, took_s = count + drained, took_s + more_s
            for name in names:
                figures[name].append(spent[name] / count / 1000)
            figures["the rest"].append((took_s * 1e9 - sum(spent.values())) / count / 1000)
    return [
        row_of(f"drain: limit {limit}, trees, of which: {name}", found, "µs/record")
        for name, found in figures.items()
    ]


@contextmanager
def _counting() -> Iterator[dict[str, int]]:
    """Nanoseconds of CPU time by stage, while this lasts."""
    spent: dict[str, int] = defaultdict(int)
    # By thread: what the calls made by the stages that are running took.
    inner: dict[int, list[int]] = defaultdict(list)
    with ExitStack() as stack:
        for name, owner, attribute in _STAGES:
            function = getattr(owner, attribute)
            stack.callback(setattr, owner, attribute, function)
            setattr(owner, attribute, _counted(name, function, spent, inner))
        yield spent


def _counted(
    name: str, function: Callable[..., Any], spent: dict[str, int], inner: dict[int, list[int]]
) -> Callable[..., Any]:
    clock = time.thread_time_ns

    def timed(*args: Any, **kwargs: Any) -> Any:
        mine = inner[get_ident()]
        mine.append(0)
        start = clock()
        try:
            return function(*args, **kwargs)
        finally:
            took = clock() - start
            spent[name] += took - mine.pop()
            if mine:
                mine[-1] += took

    return timed


# --- many rings -----------------------------------------------------------------------------------


def _spread(tools: int, workers: int, limit: int, rounds: int) -> Row:
    """The same number of records from more rings."""
    each = max(1, _RECORDS // (tools * workers))
    slots = max(16, 1 << each.bit_length())
    rates = []
    with rig_of(_config(limit)) as rig:
        callers = [rig.worker, *(rig.join() for _ in range(workers - 1))]
        rings = [(caller, f"tool{n}") for caller in callers for n in range(tools)]
        for caller, tool in rings:
            caller.add_tool(tool, ("params",), slots)
        for _ in range(max(3, rounds)):
            for caller, tool in rings:
                for _ in range(each):
                    rig.store(tool, worker=caller)
            count, took_s = _drained(rig, writes=limit < 0)
            assert count == len(rings) * each, (count, len(rings), each)
            rates.append(count / took_s)
    name = f"drain: limit {limit}, {_many(tools, 'tool')}, {_many(workers, 'worker')}"
    return row_of(f"{name}, {_many(each, 'record')} a ring", rates, "records/s")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" + ("" if count == 1 else "s")
