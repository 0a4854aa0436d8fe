"""
``shmperf doctor``: what the session depends on, what is left over, and what to do about it.

Every check gives one row: state (ok, warn, fail), what was found, and one line of advice. Nothing
is changed but with ``fix``, which removes the memory of sessions that are dead.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import msgspec

from shmperf.analysis.names import Varying, advice_for
from shmperf.analysis.stats import plain
from shmperf.compiled.chosen import hot, is_off, path
from shmperf.config.file import load
from shmperf.config.locate import find
from shmperf.config.options import Options
from shmperf.errors import (
    ConfigError,
    SessionError,
    ShmperfError,
    StoreError,
)
from shmperf.files import internals, reason_of
from shmperf.session.paths import runtime_root
from shmperf.session.rendezvous import Request, sessions
from shmperf.shm.fence import REORDERS
from shmperf.shm.memory import PREFIX, SHARED_MEMORY, is_held, remove_memory
from shmperf.shm.segment import is_of_another_version, is_supported
from shmperf.storage.codecs import has_zstd
from shmperf.storage.sizes import bytes_by_kind
from shmperf.storage.state import load as load_ledger
from shmperf.views import terminal
from shmperf.views.formatting import size

from .arguments import add_reader, request_of, show

__all__ = ["add_arguments", "examine", "run"]

Check = dict[str, str]

_COMING_S = 5.0
_LEAST_FREE = 64 << 20
_LEAST_DISK = 100 << 20
_NEARLY_FULL = 0.9


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    add_reader(parser)
    parser.add_argument("--fix", action="store_true", help="remove memory of dead sessions")


def run(given: Namespace) -> int:
    """Do it; 1 when a check has failed."""
    rows = examine(request_of(given), fix=given.fix)
    show(given, rows, terminal.checks)
    return int(any(row["state"] == "fail" for row in rows))


def examine(request: Request, *, fix: bool) -> list[Check]:
    """All checks, in the order in which a call depends on them."""
    rows = [_platform(), _versions(), _path(), *_shared_memory(request, fix=fix), _clock()]
    rows.append(_runtime(request))
    options, config_rows = _configuration(request)
    rows += config_rows
    path = request.storage or options.storage.path
    rows += _storage(Path(os.path.normpath(Path(request.cwd) / path)), options)
    return rows


def _row(state: str, check: str, found: str, advice: str = "") -> Check:
    return {"state": state, "check": check, "found": found, "advice": advice}


def _platform() -> Check:
    here = f"{platform.system()} {platform.machine()}, {platform.python_implementation()} "
    here += platform.python_version()
    if not is_supported():
        return _row("fail", "platform", here, "use CPython with its global lock on Linux or macOS")
    if sys.platform != "linux" or REORDERS:
        return _row("warn", "platform", here, "written for, but only tested on Linux x86-64")
    return _row("ok", "platform", here)


def _versions() -> Check:
    names = ("shmperf", "msgspec", "psutil", "PyYAML", "rich")
    try:
        numbers = ", ".join(f"{name} {metadata.version(name)}" for name in names)
    except metadata.PackageNotFoundError as error:
        return _row("fail", "versions", f"{error} is not installed", "run: pip install shmperf")
    return _row("ok", "versions", numbers)


def _path() -> Check:
    """Which of both ways of recording this installation has."""
    advice = ""
    if hot is None and not is_off():
        advice = "each call costs several times as much; with a C compiler, install shmperf anew"
    return _row("warn" if advice else "ok", "path", path(), advice)


# --- shared memory -------------------------------------------------------------------------------


def _shared_memory(request: Request, *, fix: bool) -> Iterator[Check]:
    try:
        usage = shutil.disk_usage(SHARED_MEMORY)
    except OSError as error:
        advice = "mount a tmpfs there; until then workers map files in the session directory"
        yield _row("warn", "shared memory", f"{SHARED_MEMORY}: {reason_of(error)}", advice)
        return
    room = f"{usage.free >> 20} of {usage.total >> 20} MiB free"
    if not os.access(SHARED_MEMORY, os.W_OK | os.X_OK):
        advice = f"let this user write there: chmod 1777 {SHARED_MEMORY}"
        yield _row("fail", "shared memory", "not writable", advice)
    elif usage.free < _LEAST_FREE:
        advice = "free or enlarge it (containers: --shm-size=256m); full rings lose calls"
        yield _row("warn", "shared memory", room, advice)
    else:
        yield _row("ok", "shared memory", room)
    yield _left_over(request, fix=fix)


def _left_over(request: Request, *, fix: bool) -> Check:
    """Segments of ours whose session has no directory, or no worker alive and no collector."""
    dead, untold = _dead_segments(request)
    if untold and not dead:
        found = f"{len(untold)} of another version, which can't be told from what is in use"
        advice = f"end its programs, then: rm {SHARED_MEMORY / untold[0]}"
        return _row("warn", "left-over segments", found, advice)
    if not dead:
        return _row("ok", "left-over segments", "none")
    size = sum(_blocks(SHARED_MEMORY / name) for name in dead)
    dead_and_size = f"{len(dead)} of dead sessions, {size >> 10} KiB"
    if not fix:
        return _row(
            "warn", "left-over segments", dead_and_size, "remove them: shmperf doctor --fix"
        )
    for name in dead:
        remove_memory(name, None)
    return _row("ok", "left-over segments", f"{dead_and_size}: removed")


def _dead_segments(request: Request) -> tuple[list[str], list[str]]:
    """Those that nobody has mapped any more, and those of another version, which can't be told."""
    found = filter(_is_ours, SHARED_MEMORY.glob(f"{PREFIX}*"))
    ours = {path.name.partition(".")[0] for path in found}
    try:
        root = runtime_root(request.environ)
    except SessionError:
        return [], []
    for session in sessions(root):
        # Unread records of a session that can be collected are not left-overs.
        ours -= {presence.segment for presence in session.presences()}
    let_go = sorted(filter(_is_let_go, ours))
    untold = list(filter(is_of_another_version, let_go))
    return [name for name in let_go if name not in untold], untold


def _is_ours(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        # Its worker has ended meanwhile.
        return False


def _is_let_go(name: str) -> bool:
    """
    True when nobody has it mapped any more, by its lock alone.

    Its session may have another runtime directory than ours, and its pid be of another namespace.
    """
    try:
        is_coming = time.time() - (SHARED_MEMORY / name).lstat().st_ctime < _COMING_S
    except OSError:
        return False
    return not is_coming and is_held(name) is False


def _blocks(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


# --- the rest ------------------------------------------------------------------------------------


def _clock() -> Check:
    clock = time.get_clock_info("perf_counter")
    clock_text = f"{clock.implementation}, resolution {clock.resolution * 1e9:.0f} ns"
    if not clock.monotonic or clock.resolution > 1e-6:
        return _row("warn", "clock", clock_text, "durations are as coarse as this clock")
    return _row("ok", "clock", clock_text)


def _runtime(request: Request) -> Check:
    try:
        root = runtime_root(request.environ)
        known = sessions(root)
    except ShmperfError as error:
        return _row("fail", "session directory", str(error), "set XDG_RUNTIME_DIR to your own")
    collected = sum(session.has_collector() for session in known)
    text = f"{root}: {len(known)} sessions, {collected} with a collector"
    waiting = [s.name for s in known if s.name and not s.has_collector() and s.presences()]
    if waiting:
        advice = f"records wait: shmperf collect --session {waiting[0]}"
        return _row("warn", "session directory", text, advice)
    return _row("ok", "session directory", text)


def _configuration(request: Request) -> tuple[Options, list[Check]]:
    try:
        path = find(request.config, request.environ, Path(request.cwd))
        if path is None:
            return Options(), [_row("ok", "configuration", "built-in defaults")]
        options = load(path)
    except ConfigError as error:
        advice = "mend it; until then workers use the defaults"
        return Options(), [_row("fail", "configuration", str(error), advice)]
    return options, [_row("ok", "configuration", str(path))]


def _storage(storage: Path, options: Options) -> Iterator[Check]:
    existing = next(place for place in (storage, *storage.parents) if place.exists())
    if not os.access(existing, os.W_OK | os.X_OK) or not existing.is_dir():
        advice = "choose another storage.path; until then history stays in memory"
        yield _row("fail", "storage", f"{existing} is not a writable directory", advice)
        return
    free = shutil.disk_usage(existing).free
    used = bytes_by_kind(storage)
    room = f"{storage}, {size(sum(used.values()))} used, {free >> 20} MiB free"
    if free < _LEAST_DISK:
        yield _row("warn", "storage", room, "free some space; a full disk keeps history in memory")
    else:
        yield _row("ok", "storage", room)
    yield from _room(used, options)
    yield from _journal(storage, options)


def _room(used: Mapping[str, int], options: Options) -> Iterator[Check]:
    """What becomes of the lines of tools that keep all."""
    if options.default_perf_points >= 0 and -1 not in options.tool_limits.values():
        return
    kept, most = used.get("history", 0) + used.get("segments", 0), options.storage.max_bytes
    found = f"{size(kept)} of storage.max_bytes, {size(most)}"
    if kept >= most * _NEARLY_FULL and options.history.when_full == "stop":
        advice = "raise it, or set history.when_full: drop_oldest; beyond it calls are not kept"
        yield _row("warn", "history", found, advice)
    elif options.history.compress == "zstd" and not has_zstd():
        advice = "run: pip install backports.zstd; until then gzip takes its place"
        yield _row("warn", "history", "zstd is missing", advice)
    else:
        yield _row("ok", "history", found)


def _names(stats: Mapping[str, Any]) -> Iterator[Check]:
    for tool, first in stats["nameless"].items():
        advice = "what varies belongs into parameters; see: shmperf stats"
        yield _row("warn", "names", f"{tool!r} counts {', '.join(map(repr, first))} …", advice)
    made_up = msgspec.convert(stats["varying"], list[Varying])
    if made_up:
        advice = "give the tool a fixed name, and what varies as a parameter"
        yield _row("warn", "names", advice_for(made_up[0]), advice)


def _sampling(stats: Mapping[str, Any]) -> Iterator[Check]:
    """Of which tools not every call is recorded."""
    rows = [row for row in stats["tool_stats"].values() if row["estimated"]]
    if rows:
        calls, left_out = (sum(row[key] for row in rows) for key in ("count", "sampled_out"))
        found = f"{len(rows)} tools, {left_out:,} of {calls:,} calls counted without a record"
        advice = "meant so by sampling in the configuration; why, tool by tool: shmperf status"
        yield _row("ok", "sampling", found, advice)


def _journal(storage: Path, options: Options) -> Iterator[Check]:
    row, stats = _read(storage, options)
    yield row
    if stats is not None:
        yield from _names(stats)
        yield from _sampling(stats)


def _read(storage: Path, options: Options) -> tuple[Check, dict[str, Any] | None]:
    """What the journal holds: a row of its own, and the statistics where there are some."""
    if not internals(storage).exists():
        return _row("ok", "journal", "none yet"), None
    try:
        ledger, damage = load_ledger(storage, options)
    except StoreError as error:
        advice = "make the directory readable for this user"
        return _row("fail", "journal", str(error), advice), None
    except ShmperfError as error:
        advice = "read it with the shmperf that wrote it"
        return _row("fail", "journal", str(error), advice), None
    if damage:
        advice = "nothing to do: the next collector goes on behind the last whole frame"
        return _row("warn", "journal", damage, advice), None
    stats = plain(ledger.stats(None, 0, complete=True))
    totals = f"{stats['total_calls']:,} calls of {stats['tools_tracked']} tools"
    if stats["faults"]:
        causes = ", ".join(f"{cause} {count}" for cause, count in stats["faults"].items())
        found = f"{totals}; faults: {causes}"
        return _row("warn", "journal", found, "see: shmperf status"), stats
    return _row("ok", "journal", totals), stats
