"""
What the campaign's children do: workers of many kinds, collectors, a sweep.

Every worker logs its calls in a `Log` of its own, so that what shmperf says of them can be checked
call by call. A child runs until its work is done or somebody kills it.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import shmperf
from shmperf import daemon, journal, meeting
from shmperf.errors import SessionError
from shmperf.meeting import Request
from shmperf.places import remove_asides, runtime_root
from shmperf.presence import is_locked as has_lock

from .log import Full, Log
from .points import stop_at

__all__ = ["KINDS", "RUNS"]

_log: Log
_libc = ctypes.PyDLL(None)


# --- tools ----------------------------------------------------------------------------------------


@shmperf.track
def leaf(slot: int) -> int:
    """A plain call."""
    _log.enter(slot)
    return slot


@shmperf.track
def outer(slot: int, leaves: int) -> None:
    """A call with children."""
    _log.enter(slot)
    for _ in range(leaves):
        _logged(leaf)


@shmperf.track
def failing(slot: int) -> None:
    """A call that raises."""
    _log.enter(slot)
    raise ValueError("as planned")


@shmperf.track
def wide(slot: int, text: str) -> int:
    """A call with long parameters."""
    _log.enter(slot)
    return len(text)


@shmperf.track
async def coroutine(slot: int) -> None:
    """An asynchronous call."""
    _log.enter(slot)
    await asyncio.sleep(0)


@shmperf.track
def generator(slot: int) -> Iterator[int]:
    """A call in steps."""
    _log.enter(slot)
    yield slot
    _logged(leaf)


@shmperf.track
async def async_generator(slot: int) -> AsyncIterator[int]:
    """An asynchronous call in steps."""
    _log.enter(slot)
    yield slot


@shmperf.track
def forking(slot: int, fork: Callable[[], int]) -> None:
    """A call in whose middle the process forks; the child makes calls of its own and ends."""
    global _log  # noqa: PLW0603  the child's log is another one
    _log.enter(slot)
    pid = fork()
    if pid == 0:
        _log = _log.child()
        for _ in range(5):
            _logged(outer, 2)
        os._exit(0)
    os.waitpid(pid, 0)


def _logged(tool: Callable[..., Any], *args: Any) -> None:
    slot = _log.intend()
    try:
        tool(slot, *args)
    except ValueError:
        pass
    _log.done(slot)


# --- kinds of workers -----------------------------------------------------------------------------


def _plain(rng: random.Random) -> None:
    _logged(outer, rng.randrange(4))
    _logged(failing)


def _wide(rng: random.Random) -> None:
    _logged(wide, "x" * rng.choice([1, 50, 300, 3_000, 40_000]))


def _many(rng: random.Random) -> None:
    slot = _log.intend()
    with shmperf.call(f"tool {rng.randrange(40)}", size=slot):
        _log.enter(slot)
    _log.done(slot)


def _pairs(rng: random.Random) -> None:
    first, second = _log.intend(), _log.intend()
    one = shmperf.track_tool_call("pair", {"n": first})
    _log.enter_as(first, one)
    two = shmperf.track_tool_call("pair", {"n": second})
    _log.enter_as(second, two)
    ends = [(first, one), (second, two)]
    rng.shuffle(ends)
    for slot, call_id in ends:
        shmperf.end_tool_call(call_id, error="it failed" if rng.random() < 0.2 else None)
        _log.done(slot)


def _steps(rng: random.Random) -> None:
    slot = _log.intend()
    for _ in generator(slot):
        _plain(rng)
    _log.done(slot)


def _burst(rng: random.Random) -> None:  # noqa: ARG001  every kind takes one
    for _ in range(300):
        _logged(leaf)


def _forks(rng: random.Random) -> None:
    _logged(forking, os.fork)
    _plain(rng)


def _threads(rng: random.Random) -> None:
    def work(seed: int) -> None:
        own = random.Random(seed)  # noqa: S311  seeded
        try:
            while True:
                _plain(own)
        except Full:
            return

    threads = [threading.Thread(target=work, args=(rng.getrandbits(30),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    raise Full


def _asyncio(rng: random.Random) -> None:  # noqa: ARG001  every kind takes one
    async def one() -> None:
        slot = _log.intend()
        await coroutine(slot)
        _log.done(slot)
        slot = _log.intend()
        async for _ in async_generator(slot):
            _logged(leaf)
        _log.done(slot)

    async def together() -> None:
        await asyncio.gather(*(one() for _ in range(5)))

    asyncio.run(together())


def _bare_forks(rng: random.Random) -> None:
    """Forks that run no hook: the two processes may spoil each other's records, nothing else."""
    _logged(forking, _libc.fork)
    _plain(rng)


KINDS: dict[str, Callable[[random.Random], None]] = {
    "plain": _plain,
    "wide": _wide,
    "many": _many,
    "pairs": _pairs,
    "steps": _steps,
    "burst": _burst,
    "forks": _forks,
    "threads": _threads,
    "asyncio": _asyncio,
    "bare forks": _bare_forks,
}


def _work(spec: dict[str, Any]) -> None:
    """Calls of one kind until the log is full, the rounds are over or somebody asks to stop."""
    global _log  # noqa: PLW0603  one log a process
    _log = Log(Path(spec["log"]), spec.get("slots", 2048))
    rng = random.Random(spec.get("seed", 0))  # noqa: S311  seeded
    kinds = [KINDS[kind] for kind in spec["kinds"]]
    try:
        for _ in range(spec.get("rounds", 1_000_000)):
            rng.choice(kinds)(rng)
            if spec.get("pause_s"):
                time.sleep(spec["pause_s"] * rng.random())
            if _log.must_stop:
                break
    except Full:
        pass
    if spec.get("waits"):
        # Killed at rest, then.
        while not _log.must_stop:
            time.sleep(0.001)


def _work_below(spec: dict[str, Any]) -> None:
    """The same in children that `multiprocessing` starts in the way of *spec*, one by one."""
    context: Any = multiprocessing.get_context(spec["method"])
    codes = []
    for more in spec["below"]:
        process = context.Process(target=_work_as_child, args=({**spec, **more},))
        process.start()
        process.join()
        codes.append(process.exitcode)
    Path(spec["result"]).write_text(json.dumps(codes))


def _work_as_child(spec: dict[str, Any]) -> None:
    if spec.get("below_trap"):
        stop_at(*spec["below_trap"])
    _work(spec)
    os._exit(0)


# --- collectors -----------------------------------------------------------------------------------


def _hurry(spec: dict[str, Any]) -> None:
    """What is rare in a long life happens often in a short one."""
    journal._LEAST_TURN = spec.get("turn_bytes", 1 << 14)


def _collect(spec: dict[str, Any]) -> None:
    """Serve a named session until SIGTERM."""
    _hurry(spec)
    daemon.serve_named(Request.from_environment())


def _refused(spec: dict[str, Any]) -> None:  # noqa: ARG001  every child takes one
    """Want to serve the session, too: fine while nobody holds it, refused otherwise."""
    request = Request.from_environment()
    is_held = has_lock(runtime_root(os.environ) / f"n-{request.name}" / "collector.lock")
    signal.alarm(1)
    try:
        daemon.serve_named(request)
    except SessionError:
        return
    if is_held:
        raise RuntimeError("a second collector came up beside the first")


def _embedded(spec: dict[str, Any]) -> None:
    """Serve an unnamed session, as the process does that a worker starts; nothing if served."""
    _hurry(spec)
    try:
        session = daemon.attach(Path(spec["session"]))
        fd = session.try_collector_lock()
        if fd is not None:
            daemon.serve_embedded(spec["session"], fd)
    except (SessionError, FileNotFoundError):
        # Its session has ended meanwhile.
        sys.exit(0)


def _sweep(spec: dict[str, Any]) -> None:  # noqa: ARG001  every child takes one
    """See to what dead programs left."""
    meeting.sweep(runtime_root(os.environ))
    for place in Path().glob("**/.shmperf"):
        # A collector does this when it claims a storage.
        remove_asides(place)


RUNS: dict[str, Callable[[dict[str, Any]], None]] = {
    "work": _work,
    "work below": _work_below,
    "collect": _collect,
    "refused": _refused,
    "embedded": _embedded,
    "sweep": _sweep,
}
