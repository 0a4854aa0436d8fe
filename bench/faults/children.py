"""
What the campaign's children do: workers of many kinds, collectors, a sweep.

Every worker logs its calls in a `Log` of its own, so that what shmperf says of them can be checked
call by call. A child runs until its work is done or somebody kills it.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import shmperf
from shmperf.collector import service, wallclock
from shmperf.errors import SessionError
from shmperf.interceptors import intercept_tool_call
from shmperf.session import rendezvous
from shmperf.session.files import is_locked as has_lock
from shmperf.session.files import remove_asides
from shmperf.session.paths import runtime_root
from shmperf.session.rendezvous import Request
from shmperf.storage import journal
from shmperf.worker import opencall

from .consume import consume
from .fuzz import fuzz
from .log import Full, Log
from .points import stop_at

__all__ = ["INTERRUPTIONS", "KINDS", "RUNS"]

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


def _enter_only(slot: int, text: str) -> str:
    """What interceptors stand around, and nothing else of ours."""
    _log.enter(slot)
    return text


def _chain(slot: int, text: str) -> None:
    intercept_tool_call("chained", _enter_only, (slot, text))


def _chained(rng: random.Random) -> None:
    _logged(_chain, "x" * rng.choice([1, 50, 300]))


def _many(rng: random.Random) -> None:
    slot = _log.intend()
    with shmperf.call(f"tool {rng.randrange(40)}", size=slot):
        _log.enter(slot)
    _log.done(slot)


def _every_tool(rng: random.Random) -> None:  # noqa: ARG001  every kind takes one
    slot = _log.intend()
    with shmperf.call(f"tool number {slot}"):
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


def _traces(rng: random.Random) -> None:
    """Calls that somebody else's spans have led to, each of another trace."""
    trace, span = rng.getrandbits(128) | 1, rng.getrandbits(64) | 1
    with shmperf.adopt(f"00-{trace:032x}-{span:016x}-01"):
        _plain(rng)


def _bare_forks(rng: random.Random) -> None:
    """Forks that run no hook: the two processes may spoil each other's records, nothing else."""
    _logged(forking, _libc.fork)
    _plain(rng)


KINDS: dict[str, Callable[[random.Random], None]] = {
    "plain": _plain,
    "wide": _wide,
    "many": _many,
    "chained": _chained,
    "pairs": _pairs,
    "steps": _steps,
    "burst": _burst,
    "forks": _forks,
    "threads": _threads,
    "asyncio": _asyncio,
    "traces": _traces,
    "bare forks": _bare_forks,
    "every tool": _every_tool,
}


def _work(spec: dict[str, Any]) -> None:
    """Calls of one kind until the log is full, the rounds are over or somebody asks to stop."""
    global _log  # noqa: PLW0603  one log a process
    _log = Log(Path(spec["log"]), spec.get("slots", 2048))
    if "descriptors" in spec:
        _use_up_descriptors(spec["descriptors"])
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


def _use_up_descriptors(left: int) -> None:
    """From now on this process and what it starts may open so many more files."""
    taken = max(int(fd) for fd in os.listdir("/proc/self/fd")) + 1  # noqa: PTH208
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + left, taken + left))


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


# --- interruptions --------------------------------------------------------------------------------


class _Struck(Exception):
    """What a signal handler or another thread raises in the middle of anything."""


# Whether signals may fall where they want: nothing waits for them any more.
_are_over = False

# Not pairs and blocks: struck between their two halves, nobody ends them.
_STRUCK_KINDS = ["plain", "wide", "steps", "burst", "chained"]


def _until_struck(rng: random.Random) -> None:
    """Rounds of calls until something is raised in them."""
    try:
        while True:
            KINDS[rng.choice(_STRUCK_KINDS)](rng)
    except (_Struck, KeyboardInterrupt, RecursionError):
        return


def _raise_in_handler(signal_number: int, error: type[BaseException], rng: random.Random) -> None:
    """Signals whose handler raises, at any instant; the calls go on behind it."""

    def strike(*_: Any) -> None:
        if not _are_over:
            raise error

    signal.signal(signal_number, strike)
    timer = {signal.SIGALRM: signal.ITIMER_REAL, signal.SIGVTALRM: signal.ITIMER_VIRTUAL}
    while True:
        if signal_number in timer:
            signal.setitimer(timer[signal_number], 0.0002 + rng.random() * 0.002)
            _until_struck(rng)
            continue
        delay_s = 0.0002 + rng.random() * 0.002
        thread = threading.Timer(delay_s, os.kill, (os.getpid(), signal_number))
        thread.start()
        _until_struck(rng)
        thread.join()


def _raise_in_thread(rng: random.Random) -> None:
    """Exceptions that another thread sets here, between any two instructions."""
    ours = ctypes.c_ulong(threading.get_ident())
    while True:
        thread = threading.Timer(
            0.0002 + rng.random() * 0.002,
            ctypes.pythonapi.PyThreadState_SetAsyncExc,
            (ours, ctypes.py_object(_Struck)),
        )
        thread.start()
        _until_struck(rng)
        thread.join()


def _call_quietly(tool: Callable[..., Any], *args: Any) -> None:
    try:
        _logged(tool, *args)
    except Full:
        return


def _call_in_handler(rng: random.Random) -> None:
    """Signal handlers that make tracked calls of their own."""
    signal.signal(signal.SIGALRM, lambda *_: _call_quietly(outer, 1))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while True:
            _plain(rng)
            _many(rng)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


class _Cycle:
    """Garbage that makes a tracked call when it is collected."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        """The call."""
        _call_quietly(outer, 1)


def _call_in_collection(rng: random.Random) -> None:
    """Collections of garbage, whose callbacks and finalisers make tracked calls."""

    def on_collection(*_: Any) -> None:
        _call_quietly(leaf)

    thresholds = gc.get_threshold()
    gc.set_threshold(20, 2, 2)
    gc.callbacks.append(on_collection)
    try:
        while True:
            _plain(rng)
            _many(rng)
            _Cycle()
    finally:
        gc.callbacks.remove(on_collection)
        gc.set_threshold(*thresholds)
        gc.collect()


@shmperf.track
def deep(slot: int, depth: int) -> None:
    """A call that calls itself until there is no room for another frame."""
    _log.enter(slot)
    _logged(deep, depth + 1)


def _recurse(rng: random.Random) -> None:
    """The recursion limit, reached in tracked calls, tracking or both."""
    while True:
        sys.setrecursionlimit(rng.randrange(60, 200))
        try:
            _logged(deep, 0)
        except RecursionError:
            pass
        finally:
            sys.setrecursionlimit(1000)
        _plain(rng)


INTERRUPTIONS: dict[str, Callable[[random.Random], None]] = {
    "KeyboardInterrupt": lambda rng: _raise_in_handler(signal.SIGINT, KeyboardInterrupt, rng),
    "SIGTERM": lambda rng: _raise_in_handler(signal.SIGTERM, _Struck, rng),
    "SIGALRM": lambda rng: _raise_in_handler(signal.SIGALRM, _Struck, rng),
    "SIGVTALRM": lambda rng: _raise_in_handler(signal.SIGVTALRM, KeyboardInterrupt, rng),
    "SetAsyncExc": _raise_in_thread,
    "calls in handlers": _call_in_handler,
    "calls in collections": _call_in_collection,
    "recursion": _recurse,
}


def _join_timers() -> None:
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join()


def _interrupted(spec: dict[str, Any]) -> None:
    """Calls that are interrupted in one way until the log is full; then a few in peace."""
    global _log, _are_over  # noqa: PLW0603  one log a process
    _log = Log(Path(spec["log"]), spec["slots"])
    if spec.get("warm"):
        _logged(leaf)
    try:
        INTERRUPTIONS[spec["way"]](random.Random(spec["seed"]))  # noqa: S311  seeded
    except (Full, _Struck, KeyboardInterrupt):
        pass
    _are_over = True
    try:
        _join_timers()
    except _Struck:
        # What a thread had set for this one; there is no other.
        _join_timers()
    for number in (signal.SIGALRM, signal.SIGVTALRM, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    # What an interruption left, the next call in its thread finishes.
    _log = Log(Path(f"{spec['log']}.rest"), 64)
    for _ in range(3):
        _logged(leaf)


# --- time -----------------------------------------------------------------------------------------


def step_wall_clock(steps_s: list[float]) -> None:
    """From now on the collector's wall clock jumps, to one of *steps_s* after the other."""
    steps = itertools.cycle(steps_s)

    def time_ns() -> int:
        return time.time_ns() + int(next(steps) * 1e9)

    vars(wallclock)["time"] = SimpleNamespace(
        monotonic=time.monotonic, perf_counter_ns=time.perf_counter_ns, time_ns=time_ns
    )


def _work_long(spec: dict[str, Any]) -> None:
    """Calls that last for days: the clock that ends them is so far ahead."""
    global _log  # noqa: PLW0603  one log a process
    _log = Log(Path(spec["log"]), 64)
    now_ns = time.perf_counter_ns
    for days in spec["days"]:
        slot = _log.intend()
        later_ns = int(days * 86_400 * 1e9)
        call_id = shmperf.track_tool_call("long", {"days": days})
        _log.enter_as(slot, call_id)
        vars(opencall)["perf_counter_ns"] = lambda later_ns=later_ns: now_ns() + later_ns
        shmperf.end_tool_call(call_id)
        vars(opencall)["perf_counter_ns"] = now_ns
        _log.done(slot)


# --- collectors -----------------------------------------------------------------------------------


def _hurry(spec: dict[str, Any]) -> None:
    """What is rare in a long life happens often in a short one."""
    journal._LEAST_TURN = spec.get("turn_bytes", 1 << 14)


def _collect(spec: dict[str, Any]) -> None:
    """Serve a named session until SIGTERM."""
    _hurry(spec)
    if "more_memory_bytes" in spec:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        most = pages * resource.getpagesize() + spec["more_memory_bytes"]
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if "clock_steps_s" in spec:
        step_wall_clock(spec["clock_steps_s"])
    service.serve_named(Request.from_environment())


def _refused(spec: dict[str, Any]) -> None:  # noqa: ARG001  every child takes one
    """Want to serve the session, too: fine while nobody holds it, refused otherwise."""
    request = Request.from_environment()
    is_held = has_lock(runtime_root(os.environ) / f"n-{request.name}" / "collector.lock")
    if not is_held:
        return
    signal.alarm(5)
    try:
        service.serve_named(request)
    except SessionError:
        return
    raise RuntimeError("a second collector came up beside the first")


def _embedded(spec: dict[str, Any]) -> None:
    """Serve an unnamed session, as the process does that a worker starts; nothing if served."""
    _hurry(spec)
    try:
        session = service.attach(Path(spec["session"]))
        fd = session.try_collector_lock()
        if fd is not None:
            service.serve_embedded(spec["session"], fd)
    except (SessionError, FileNotFoundError):
        # Its session has ended meanwhile.
        sys.exit(0)


def _sweep(spec: dict[str, Any]) -> None:  # noqa: ARG001  every child takes one
    """See to what dead programs left."""
    rendezvous.sweep(runtime_root(os.environ))
    for place in Path().glob("**/.shmperf"):
        # A collector does this when it claims a storage.
        remove_asides(place)


def _fuzz(spec: dict[str, Any]) -> None:
    """Fuzz one parser."""
    found = fuzz(spec["target"], spec["seed"], spec["seconds"])
    Path(spec["result"]).write_text(json.dumps(found))


RUNS: dict[str, Callable[[dict[str, Any]], None]] = {
    "work": _work,
    "work below": _work_below,
    "work long": _work_long,
    "interrupted": _interrupted,
    "collect": _collect,
    "consume": consume,
    "refused": _refused,
    "embedded": _embedded,
    "sweep": _sweep,
    "fuzz": _fuzz,
}
