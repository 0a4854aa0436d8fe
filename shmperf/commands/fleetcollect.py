"""``shmperf fleet collect`` and ``check``: what nodes publish, in files, and whether all is."""

from __future__ import annotations

import os
import signal
import sys
import threading
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from shmperf.config.options import Fleet
from shmperf.errors import StoreError
from shmperf.fleet.checking import Checked
from shmperf.fleet.checking import check as checked
from shmperf.fleet.collecting import Collector, Terms
from shmperf.fleet.datasets import FORMATS
from shmperf.fleet.engine import Away, Engine
from shmperf.fleet.objects import opened_objects
from shmperf.fleet.reach import engine_of
from shmperf.views.formatting import printable

from .arguments import positive, show
from .fleetreach import add_fleet, fleet_of

__all__ = ["add_check", "add_collect", "check", "collect"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PLACE = "a directory, or s3://bucket/path (credentials as AWS's tools find them)"
_LONGEST = 400
_AGAIN_S = 1.0


def add_collect(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_fleet(parser)
    parser.add_argument("--into", required=True, metavar="PLACE", help=_PLACE)
    parser.add_argument("--format", choices=FORMATS, default=FORMATS[0], help="(parquet)")
    parser.add_argument(
        "--every",
        type=positive,
        default=10,
        metavar="S",
        help="seconds until what came is written, if it is little (10)",
    )
    parser.add_argument(
        "--until-empty", action="store_true", help="end when nothing waits, and nobody has any"
    )


def collect(given: Namespace) -> int:
    """Collect until a signal comes; the exit code."""
    fleet = fleet_of(given)
    objects = opened_objects(given.into)
    ended = threading.Event()
    for number in _SIGNALS:
        signal.signal(number, lambda *_: ended.set())
    stored = 0
    with _connected(fleet) as engine:
        terms = Terms(given.format, float(given.every))
        collector = _begun(
            lambda: Collector(engine, fleet.stream, objects, terms, _say),
            ended,
            waits=not given.until_empty,
        )
        if collector is not None:
            _say(f"collecting into {objects.place}")
            collector.run(ended, until_empty=given.until_empty)
            stored = collector.stored
    _say(f"stored {stored:,} lines")
    return 0


def _begun(
    make: Callable[[], Collector], ended: threading.Event, *, waits: bool
) -> Collector | None:
    """What *make* makes, as soon as the broker can be reached; None when it has *ended* before."""
    known = ""
    while not ended.is_set():
        try:
            return make()
        except Away as error:
            if not waits:
                raise
            if str(error) != known:
                known = str(error)
                _say(f"{known}; tried again until it is there")
            ended.wait(_AGAIN_S)
    return None


def add_check(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_fleet(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--from", dest="place", required=True, metavar="PLACE", help=_PLACE)


def check(given: Namespace) -> int:
    """Compare; 1 where something that was published is not there, or is there twice."""
    fleet = fleet_of(given, must=False)
    objects = opened_objects(given.place)
    if fleet.url:
        with _connected(fleet) as engine:
            found = checked(objects, engine)
    else:
        found = checked(objects, None)
    if not found.objects and not found.nodes:
        raise StoreError(f"{objects.place}: nothing was collected there")
    show(given, msgspec.to_builtins(found), lambda _: _shown(found))
    return 0 if found.ok else 1


@contextmanager
def _connected(fleet: Fleet) -> Iterator[Engine]:
    engine = engine_of(fleet, os.environ, "shmperf fleet")
    try:
        yield engine
    finally:
        engine.close()


def _say(text: str) -> None:
    print(f"shmperf: {printable(text, _LONGEST)}", file=sys.stderr, flush=True)


_COLUMNS = ("published", "stored", "left_out", "dropped", "missing", "waiting", "lost")
_FAULTS = ("absent", "doubled")


def _shown(found: Checked) -> str:
    """A row a node's storage, and what that means."""
    columns = (*_COLUMNS, *(name for name in _FAULTS if any(getattr(n, name) for n in found.nodes)))
    rows = [("node", *(name.replace("_", " ") for name in columns))]
    rows += [
        (printable(one.node, 40), *(f"{getattr(one, name):,}" for name in columns))
        for one in found.nodes
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.refused.items()))
    if told:
        lines += ["", f"messages that were no batches: {told}"]
    return "\n".join([*lines, "", f"{printable(found.place)}: {_meaning(found)}"])


def _meaning(found: Checked) -> str:
    waiting = sum(one.waiting for one in found.nodes)
    waits = f"; {waiting:,} lines wait in the stream" if waiting else ""
    if not found.objects:
        return f"nothing was collected there yet{waits}"
    well = "all that was taken is stored, once" if found.ok else "not all that was taken is here"
    return f"{found.objects:,} objects: {well}{waits}"
