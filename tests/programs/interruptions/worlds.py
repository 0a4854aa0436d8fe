"""
Calls of every kind in a world that lets a program do little: what they gave, and the statistics.

The first argument says what the world refuses, the second since when: before the first call of
anything, or after one of each kind. Prints what each kind gave then, twice, and how many calls
had begun before and in the end; nothing is imported or opened for that.
"""

from __future__ import annotations

import builtins
import json
import os
import resource
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import shmperf

if sys.argv[2:] == ["later"]:
    # Where it is not, whoever records must bring along what a program may ask.
    from shmperf.optimized_perf_tracker import OptimizedPerfTracker
else:
    OptimizedPerfTracker = None  # type: ignore[assignment,misc]  # and is not asked

NOBODY = 65534
BEGUN = 0


class Refused(Exception):
    """What a sandbox of the program's own raises."""


class Shelf:
    """A method is a tool, too."""

    @shmperf.track
    def take(self, n: int) -> int:
        """Something."""
        return began(n)


@shmperf.track
def plain(n: int) -> int:
    """A function."""
    return began(n)


@shmperf.track
def fails(n: int) -> int:
    """One that raises."""
    raise KeyError(began(n))


@shmperf.track
async def awaited(n: int) -> int:
    """A coroutine."""
    return began(n)


@shmperf.track
def steps(n: int) -> Generator[int, None, None]:
    """A generator."""
    yield began(n)
    yield n


@shmperf.track
async def awaited_steps(n: int) -> AsyncGenerator[int, None]:
    """An asynchronous one."""
    yield began(n)
    yield n


@shmperf.track("chosen", params=lambda n: {"n": n})
def chosen(n: int) -> int:
    """One that says what is recorded of it."""
    shmperf.annotate(seen=n)
    return began(n)


def began(n: int) -> int:
    """Count a call."""
    global BEGUN
    BEGUN += 1
    return n


def through(coroutine: Any) -> Any:
    """What a coroutine that waits for nothing comes to."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    return "waits"


async def all_of(found: AsyncGenerator[int, None]) -> list[int]:
    """Everything that an asynchronous generator gives."""
    return [n async for n in found]


def block(n: int) -> int:
    """A block, with one within."""
    with shmperf.call("block", n=n):
        with shmperf.call("within"):
            began(n)
        return began(n)


def pair(n: int) -> str:
    """A call begun and ended by hand."""
    begun = shmperf.track_tool_call("pair", {"n": began(n)})
    shmperf.end_tool_call(begun, metadata={"n": n})
    return type(begun).__name__


def carried(n: int) -> int:
    """A call under a parent from elsewhere."""
    with shmperf.adopt(shmperf.traceparent()), shmperf.adopt(shmperf.current()):
        return shmperf.propagate(plain)(n)


def long(n: int) -> int:
    """A call whose parameters take more than a slot, and a ring that grows."""
    for _ in range(200):
        plain(n)
    return len(str(through(awaited(f"{n}" * 5_000))))


def questions(n: int) -> list[str]:
    """What a program may ask, and the kind of each answer."""
    answers = [
        shmperf.get_perf_stats("plain"),
        shmperf.get_tracker().mode,
        shmperf.get_tracker().lost,
        shmperf.get_tracker().faults,
        shmperf.get_tracker().enabled,
        shmperf.flush(0.1),
        shmperf.set_optimization_mode(bool(n % 2)),
        shmperf.set_optimization_mode(False),
    ]
    if OptimizedPerfTracker is not None:
        tracker = OptimizedPerfTracker()
        answers += [
            tracker.get_tool_stats("plain"),
            tracker.get_all_stats(),
            tracker.is_optimization_mode(),
            dict(tracker.config),
        ]
    return [type(answer).__name__ for answer in answers]


KINDS: dict[str, Callable[[int], Any]] = {
    "plain": plain,
    "fails": fails,
    "awaited": lambda n: through(awaited(n)),
    "steps": lambda n: list(steps(n)),
    "awaited_steps": lambda n: through(all_of(awaited_steps(n))),
    "chosen": chosen,
    "method": lambda n: Shelf().take(n),
    "block": block,
    "pair": pair,
    "carried": carried,
    "long": long,
}


def outcome(kind: Callable[[int], Any], n: int) -> Any:
    """What a call gave, or what it raised and in the middle of what."""
    try:
        return kind(n)
    except KeyError as error:
        return [repr(error), repr(error.__context__)]
    except Exception as error:  # noqa: BLE001  that is the question
        return f"raised {error!r}"


# --- worlds ---------------------------------------------------------------------------------------


def no_descriptors() -> None:
    """Nothing more can be opened."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))


def no_memory() -> None:
    """Room for what is small, and for no segment."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + (24 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def no_sizes() -> None:
    """No file may become larger than nothing."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def another_root() -> None:
    """Nothing of what there was has a path."""
    os.chroot(tempfile.mkdtemp(dir=os.environ["XDG_RUNTIME_DIR"]))
    os.chdir("/")


def another_user() -> None:
    """Privileges are dropped, as a server does."""
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def no_directory() -> None:
    """Where the program works is no more."""
    gone = tempfile.mkdtemp()
    os.chdir(gone)
    Path(gone).rmdir()


def no_streams() -> None:
    """A service that has nothing to read and nowhere to write to."""
    for fd in (0, 1, 2):
        os.close(fd)
    sys.stdin = sys.stdout = sys.stderr = None  # type: ignore[assignment]  # so it is in services


class Forbidding:
    """An import hook of a sandbox."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Nothing is found."""
        raise self.error(f"{name} is not allowed")


def no_imports(error: type[Exception]) -> None:
    """What has not been imported won't be."""
    sys.meta_path.insert(0, Forbidding(error))


def another_import(*_arguments: Any, **_more: Any) -> None:
    """What a sandbox puts in the place of ``__import__``."""
    raise Refused("this is not allowed")


def no_deeds() -> None:
    """Whatever reaches the system is refused by an audit hook."""
    refused = ("open", "os.", "socket.", "fcntl.", "mmap.", "subprocess.", "import")

    def hook(event: str, _arguments: Any) -> None:
        if event.startswith(refused):
            raise RuntimeError(f"{event} is not allowed")

    sys.addaudithook(hook)


WORLDS: dict[str, Callable[[], None]] = {
    "no descriptors": no_descriptors,
    "no memory": no_memory,
    "no sizes": no_sizes,
    "another root": another_root,
    "another user": another_user,
    "no directory": no_directory,
    "no streams": no_streams,
    "no imports": lambda: no_imports(PermissionError),
    "no imports, by an error of its own": lambda: no_imports(Refused),
    "no __import__": lambda: setattr(builtins, "__import__", another_import),
    "no deeds": no_deeds,
}


def main() -> None:
    """Prints what each kind gave."""
    world, since = sys.argv[1:3]
    out = os.dup(1)
    if since == "later":
        for kind in KINDS.values():
            outcome(kind, 0)
        shmperf.flush()
    before = BEGUN
    WORLDS[world]()
    found = [{name: outcome(kind, n) for name, kind in KINDS.items()} for n in (1, 2)]
    asked = outcome(questions, 1)
    os.write(out, json.dumps([found, asked, before, BEGUN]).encode())


if __name__ == "__main__":
    main()
