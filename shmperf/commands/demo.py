"""
``shmperf demo``: real tools on real input in several processes, and what tracking them costs.

A small code-search service: the workers of a pool read modules of the standard library, hash them,
parse them, index their definitions into SQLite and search that index, each step a tracked tool that
calls others. Some steps fail, because their input deserves it: a lookup of a name that nobody
defines, a source file that does not parse. One is slow: what was meant by a name that nobody
defines. And as long as it works, each worker has one call open that all others lie below.
"""

from __future__ import annotations

import ast
import difflib
import gc
import hashlib
import json
import multiprocessing
import os
import shlex
import sqlite3
import sys
import sysconfig
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from shmperf.views.formatting import duration
from shmperf.views.terminal import console_for, stats
from shmperf.views.tree import call_tree
from shmperf.worker.api import get_tracker
from shmperf.worker.wrappers import track

from .arguments import positive
from .run import collecting

__all__ = ["add_arguments", "demo", "run"]

_SECONDS = 5
_LEAST_SECONDS = 1.0
_PROCESSES = 4
_ROUNDS = 25
_ROUND_FILES = 12
_LIBRARY = Path(sysconfig.get_paths()["stdlib"])
_LARGEST_SOURCE = 60_000
# Names that a suggestion is looked for among: each takes about 20 µs.
_MOST_NAMES = 2_000


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument(
        "--storage", metavar="DIR", default="perf_data", help="(default: perf_data)"
    )
    parser.add_argument(
        "--seconds", type=positive, default=_SECONDS, metavar="N", help=f"how long ({_SECONDS})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    if not given.json:
        demo(given.storage, console_for(sys.stdout), given.seconds)
        return 0
    with Path(os.devnull).open("w") as nowhere:
        result = demo(given.storage, console_for(nowhere), given.seconds)
    print(json.dumps(result, indent=2))
    return 0


# --- the tools -----------------------------------------------------------------------------------


@track
def read_source(path: str) -> bytes:
    """The bytes of a source file, *path* below the standard library."""
    return (_LIBRARY / path).read_bytes()


@track
def hash_source(source: bytes) -> str:
    """The digest that tells whether a file has changed."""
    return hashlib.sha256(source).hexdigest()


@track
def parse_source(source: bytes) -> list[tuple[str, int]]:
    """Names and lines of what a module defines."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [(n.name, n.lineno) for n in ast.walk(ast.parse(source)) if isinstance(n, kinds)]


@track(params=("path",))
def index_names(database: str, path: str, digest: str, names: list[tuple[str, int]]) -> int:
    """Write a module's definitions into the index."""
    with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
        connection.execute("DELETE FROM names WHERE path = ?", (path,))
        connection.executemany(
            "INSERT INTO names VALUES (?, ?, ?, ?)",
            [(name, path, line, digest) for name, line in names],
        )
    return len(names)


@track(params=("name",))
def search_index(database: str, name: str) -> list[tuple[str, int]]:
    """Where *name* is defined; LookupError when nowhere."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        found = connection.execute(
            "SELECT path, line FROM names WHERE name = ? LIMIT 20", (name,)
        ).fetchall()
    if not found:
        raise LookupError(f"nobody defines {name}")
    return found


@track(params=("name",))
def suggest_name(database: str, name: str) -> list[str]:
    """Names like *name* that somebody defines; compared one by one, hence slow."""
    with closing(sqlite3.connect(database, timeout=30)) as connection:
        rows = connection.execute("SELECT DISTINCT name FROM names LIMIT ?", (_MOST_NAMES,))
        return difflib.get_close_matches(name, [name for (name,) in rows])


@track(params=("path",))
def study_module(database: str, path: str) -> int:
    """Read, hash, parse and index one module, then look up its names and one that is not there."""
    source = read_source(path)
    digest = hash_source(source)
    names = parse_source(source)
    index_names(database, path, digest, names)
    for name, _ in names[:5]:
        search_index(database, name)
    unknown = f"{Path(path).stem}_of_nobody"
    try:
        search_index(database, unknown)
    except LookupError:
        suggest_name(database, unknown)
    return len(names)


@track
def check_syntax(path: str) -> None:
    """Raises SyntaxError for a file that does not parse, such as this text of a template."""
    ast.parse(read_source(path).replace(b"def ", b"def {{name}} ", 1))


@track(params=lambda database, paths, deadline_s: {"modules": len(paths)})  # noqa: ARG005  as called
def study_library(database: str, paths: list[str], deadline_s: float) -> int:
    """Study *paths* over and over until the deadline, in wall time; how many it were."""
    studied = 0
    for path in cycle(paths):
        # On a busy machine the time may be over before this process has started.
        if studied and time.time() > deadline_s:
            break
        studied += 1
        try:
            study_module(database, path)
            if len(path) % 5 == 0:
                check_syntax(path)
        except (SyntaxError, ValueError):
            continue
    return studied


def _study(task: tuple[str, list[str], float]) -> int:
    """A worker's share, for a second at least."""
    database, paths, deadline_s = task
    # On a busy machine this process may come up when the others are about to end.
    return study_library(database, paths, max(deadline_s, time.time() + _LEAST_SECONDS))


# --- the run -------------------------------------------------------------------------------------


def demo(storage: str, console: Console, seconds: int = _SECONDS) -> dict[str, Any]:
    """Run it, print what it shows, and return the statistics with the overhead measured."""
    with collecting(storage, None) as session, tempfile.TemporaryDirectory() as directory:
        database = _create_database(Path(directory))
        os.environ["SHMPERF_SESSION"] = session.name
        try:
            _work(database, console, seconds)
            overhead = _in_another_process(_overhead)
        finally:
            del os.environ["SHMPERF_SESSION"]
        edges = session.tree()
        found = session.stop()
    console.print(stats(found))
    console.print(Text("\nwho calls whom", "bold"), call_tree(edges, found["tool_stats"]), "")
    console.print(_overhead_text(overhead))
    console.print(_views_text(storage))
    console.print(Text(f"history: {session.storage}   more: shmperf --help", "dim"))
    return {**found, "overhead": overhead, "tree": edges, "storage": str(session.storage)}


def _create_database(directory: Path) -> str:
    path = str(directory / "index.db")
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE names (name TEXT, path TEXT, line INTEGER, digest TEXT)")
        connection.execute("CREATE INDEX by_name ON names (name)")
    return path


def _sources() -> list[str]:
    """Modules by their paths below the library."""
    found = [p for p in sorted(_LIBRARY.rglob("*.py")) if "site-packages" not in p.parts]
    sizes = ((path, path.stat().st_size) for path in found)
    return [str(path.relative_to(_LIBRARY)) for path, size in sizes if 0 < size < _LARGEST_SOURCE]


def _work(database: str, console: Console, seconds: int) -> None:
    """Keep a pool busy for so long."""
    deadline_s = time.time() + seconds
    sources = _sources()
    tasks = [(database, sources[n::_PROCESSES], deadline_s) for n in range(_PROCESSES)]
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with (
        Progress(*columns, console=console, transient=True) as progress,
        multiprocessing.get_context("spawn").Pool(_PROCESSES) as pool,
    ):
        shown = progress.add_task(f"{_PROCESSES} processes index Python", total=seconds)
        work = pool.map_async(_study, tasks, chunksize=1)
        while not work.ready():
            progress.update(shown, completed=seconds - (deadline_s - time.time()))
            work.wait(0.1)
        work.get()
        pool.close()
        pool.join()


def _in_another_process(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of *work* in a fresh process: this one records nothing itself."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        found = pool.apply(work)
        pool.close()
        pool.join()
    return found


# --- what it costs -------------------------------------------------------------------------------


def _overhead() -> dict[str, Any]:
    """
    The same work with tracking off and on, in turn, in one process.

    The best of the rounds each: what else runs on the machine only ever adds time.
    """
    tracker = get_tracker()
    paths = _sources()[:_ROUND_FILES]
    _parse_all(paths)
    on: list[float] = []
    off: list[float] = []
    for _ in range(_ROUNDS):
        for times, enabled in ((off, False), (on, True)):
            tracker.enabled = enabled
            times.append(_timed(lambda: _parse_all(paths)))
    tracker.enabled = True
    tracked = track(do_nothing)
    tracked()
    empty_s = min(_timed(lambda: _repeat(do_nothing)) for _ in range(_ROUNDS))
    tracked_s = min(_timed(lambda: _repeat(tracked)) for _ in range(_ROUNDS))
    off_s, on_s = min(off), min(on)
    return {
        "work_off_s": off_s,
        "work_on_s": on_s,
        "work_percent": 100 * (on_s - off_s) / off_s,
        "call_us": (tracked_s - empty_s) / _CALLS * 1e6,
    }


_CALLS = 1_000


def _parse_all(paths: list[str]) -> None:
    for path in paths:
        source = read_source(path)
        hash_source(source)
        parse_source(source)


def do_nothing() -> None:
    """A tool that does nothing: what is left is the cost of recording it."""


def _repeat(function: Callable[[], None]) -> None:
    for _ in range(_CALLS):
        function()


def _timed(work: Callable[[], object]) -> float:
    # Or all garbage of both ways of doing it is collected in the rounds of one.
    gc.collect()
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# --- what to look at ------------------------------------------------------------------------------

_VIEWS = (
    ("shmperf report", "one file to open: what was slow, and what lay below it"),
    ("shmperf serve", "the same as a page"),
    ("shmperf trace study_module", "the slowest call and where its time went"),
    ("shmperf top", "live: calls in flight, beside `shmperf demo --seconds 60`"),
)


def _views_text(storage: str) -> Text:
    """The commands that show this storage, each whole, for a click or a copy."""
    where = f" --storage {shlex.quote(storage)}"
    longest = max(len(command + where) for command, _ in _VIEWS)
    text = Text("\nlook at it\n", "bold", no_wrap=True)
    for command, says in _VIEWS:
        text.append(f"  {(command + where).ljust(longest)}", "default")
        text.append(f"   {says}\n", "dim")
    return text


def _overhead_text(overhead: dict[str, Any]) -> Text:
    text = Text("overhead: ", "bold")
    text.append(
        f"the same work took {duration(overhead['work_off_s'])} untracked and "
        f"{duration(overhead['work_on_s'])} tracked ({overhead['work_percent']:+.1f} %); "
        f"a call that does nothing costs {overhead['call_us']:.2f} µs more",
        "default",
    )
    return text
