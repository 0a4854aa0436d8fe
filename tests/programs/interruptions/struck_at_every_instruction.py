"""
Calls of every kind, struck once at every instruction of ours where CPython lets a handler in.

The interpreter looks for signals as it enters a function, behind a call and at a jump backwards;
those places are counted, and round n is struck at the nth of them. Prints of each kind how many
strikes there were, behind which a call stayed open, behind which one stayed current; and the
statistics.

With ``raise`` or ``call``, and a number: a first call in a fork of its own, and a handler that
raises, or makes a call, at one place in so many, another first one on each Python. With ``fail`` or
``memory``: a call of ours, or an allocation, that fails there. Prints how many places there were,
the forks that did not end well, how many calls there were in their own opinion, and the statistics.

With ``fails`` and kinds, each call that we make off the hot path fails once in calls of them, and
with ``starves`` each allocation. Prints of each kind how many there were, and where that reached
the program or changed what it got; and the statistics.
"""

from __future__ import annotations

import asyncio
import dis
import gc
import inspect
import json
import linecache
import os
import re
import sys
import warnings
from collections.abc import AsyncGenerator, Callable, Generator
from functools import cache
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

try:
    import _testcapi
except ImportError:
    _testcapi = None
import shmperf
from shmperf.integrations.observer import Observer
from shmperf.interceptors import intercept_tool_call
from shmperf.worker.context import current_call, parent_of

PACKAGE = Path(shmperf.__file__).parent
WORKER = (
    str(PACKAGE / "worker"),
    str(PACKAGE / "interceptors"),
    str(PACKAGE / "integrations" / "observer.py"),
)
# What is in the middle of a first call, of a collection or of an import is another matter.
NEVER = ("process.py", "lanes.py", "gcwatch.py")


# Frames that something written in C steps through.
STEPPED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Struck(Exception):
    """What the handler raises."""


@cache
def places(code: CodeType) -> frozenset[int]:
    """The offsets of the instructions at which a handler finds us."""
    found = set()
    former = ""
    for instruction in dis.get_instructions(code):
        if former == "RESUME" or (former.startswith("CALL") and "INTRINSIC" not in former):
            found.add(instruction.offset)
        if instruction.opname == "JUMP_BACKWARD":
            found.add(instruction.offset)
        former = instruction.opname
    return frozenset(found)


class Striker:
    """Raises at the nth place, once."""

    def __init__(
        self, nth: int, ours: tuple[str, ...] = WORKER, never: tuple[str, ...] = NEVER
    ) -> None:
        self.left = nth
        self.ours = ours
        self.never = never
        self.where = ""
        # Where a frame has called a Python function: the interpreter runs it in the same loop, and
        # does not look for signals as it comes back from there.
        self.pushed: dict[FrameType, int] = {}

    def watch(self) -> None:
        """From now on."""
        if sys.version_info >= (3, 12):
            self._monitor()
        else:
            sys.settrace(self._on_call)

    def stop(self) -> None:
        """No more."""
        if sys.version_info >= (3, 12):
            sys.monitoring.set_events(TOOL, 0)
            for event in (EVENTS.PY_START, EVENTS.INSTRUCTION):
                sys.monitoring.register_callback(TOOL, event, None)
        else:
            sys.settrace(None)

    def strike(self) -> None:
        """What the handler does."""
        raise Struck

    def places(self, code: CodeType) -> frozenset[int]:
        """Where it strikes."""
        return places(code)

    def _is_ours(self, code: CodeType) -> bool:
        path = Path(code.co_filename)
        return str(path).startswith(self.ours) and path.name not in self.never

    def _note_call(self, frame: FrameType) -> None:
        code = frame.f_code
        if frame.f_back is not None and not code.co_flags & STEPPED and code.co_name != "__init__":
            self.pushed[frame.f_back] = frame.f_back.f_lasti

    def _count_down(self, frame: FrameType, offset: int) -> None:
        former = self.pushed.pop(frame, None)
        if offset not in self.places(frame.f_code) or former is not None:
            return
        self.left -= 1
        if self.left == 0:
            self.stop()
            code = frame.f_code
            self.where = f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"
            self.strike()

    # On 3.11; later versions trace no instruction in a code object's first run.

    def _on_call(self, frame: FrameType, event: str, argument: object) -> Any:
        self._note_call(frame)
        if not self._is_ours(frame.f_code):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return self._on_instruction

    def _on_instruction(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "opcode":
            self._count_down(frame, frame.f_lasti)
        return self._on_instruction

    # From 3.12 on.

    def _monitor(self) -> None:
        if sys.monitoring.get_tool(TOOL) is None:
            sys.monitoring.use_tool_id(TOOL, "striker")
            for code in filter(self._is_ours, codes_of_package()):
                sys.monitoring.set_local_events(TOOL, code, EVENTS.INSTRUCTION)
        sys.monitoring.register_callback(TOOL, EVENTS.PY_START, self._on_start)
        sys.monitoring.register_callback(TOOL, EVENTS.INSTRUCTION, self._on_offset)
        sys.monitoring.set_events(TOOL, EVENTS.PY_START)

    def _on_start(self, code: CodeType, offset: int) -> None:
        self._note_call(sys._getframe(1))

    def _on_offset(self, code: CodeType, offset: int) -> None:
        self._count_down(sys._getframe(1), offset)


class Failer(Striker):
    """Lets the nth call of ours fail."""

    def strike(self) -> None:
        """As an allocation does."""
        raise MemoryError

    @staticmethod
    @cache
    def places(code: CodeType) -> frozenset[int]:
        """The calls."""
        calls = (one for one in dis.get_instructions(code) if one.opname.startswith("CALL"))
        return frozenset(call.offset for call in calls if "INTRINSIC" not in call.opname)


if sys.version_info >= (3, 12):
    TOOL = sys.monitoring.DEBUGGER_ID
    EVENTS = sys.monitoring.events


def codes_of_package() -> set[CodeType]:
    """The code of every function of ours that has been imported."""
    found: set[CodeType] = set()
    for referrer in gc.get_objects():
        code = getattr(referrer, "__code__", None) if inspect.isfunction(referrer) else None
        if code is not None and code.co_filename.startswith(str(PACKAGE)):
            add_code(code, found)
    return found


def add_code(code: CodeType, found: set[CodeType]) -> None:
    """*code*, and the functions that it makes."""
    found.add(code)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            add_code(constant, found)


ran = 0
loop: Any = object()


@shmperf.track
def plain(*args: object, **kwargs: object) -> str:
    """A call with whatever parameters, which counts itself."""
    global ran
    ran += 1
    return "result"


@shmperf.track
def fails() -> None:
    """A call that raises."""
    raise ValueError("of its own")


@shmperf.track(params=["n"])
def chosen(n: int, text: str) -> None:
    """A call of which one parameter is recorded."""
    plain(n)


@shmperf.track
async def awaited(n: int) -> None:
    """A coroutine with a call in it."""
    plain(n)
    await asyncio.sleep(0)


@shmperf.track
async def fails_awaited() -> None:
    """A coroutine that raises."""
    raise ValueError("of its own")


@shmperf.track
def steps(n: int) -> Generator[int, Any, None]:
    """A generator with a call in each step."""
    for number in range(n):
        plain(number)
        yield number


@shmperf.track
async def async_steps(n: int) -> AsyncGenerator[int, Any]:
    """An asynchronous one."""
    for number in range(n):
        plain(number)
        yield number


def run(awaitable: Any) -> None:
    """Step through *awaitable* without a loop, which would handle exceptions in its own way."""
    stepping = awaitable.__await__() if hasattr(awaitable, "__await__") else awaitable
    while True:
        try:
            stepping.send(None)
        except StopIteration:
            return


def run_in_a_loop(awaitable: Any) -> None:
    """The same where asyncio says that a loop runs: what it runs has a context of its own."""
    asyncio.events._set_running_loop(loop)
    try:
        run(awaitable)
    finally:
        asyncio.events._set_running_loop(None)


async def through(generator: AsyncGenerator[int, Any]) -> None:
    """To its end, or closed in the middle."""
    try:
        async for _ in generator:
            pass
    finally:
        await generator.aclose()


def left_early() -> None:
    """A generator that is closed at its first value."""
    generator = steps(2)
    for _ in generator:
        break
    generator.close()


@shmperf.track
def answers(n: int) -> Generator[Any, Any, str]:
    """A generator that gives back what it is sent, and what is thrown into it."""
    got: Any = n
    for _ in range(4):
        try:
            got = yield got
        except KeyError as error:
            got = error.args
    return "done"


@shmperf.track
async def async_answers(n: int) -> AsyncGenerator[Any, Any]:
    """An asynchronous one."""
    got: Any = n
    for _ in range(4):
        try:
            got = yield got
        except KeyError as error:
            got = error.args


def talk() -> list[Any]:
    """What a generator gives that is sent something and thrown into, and what it returns."""
    generator = answers(1)
    given = [next(generator), generator.send("sent"), generator.throw(KeyError("thrown"))]
    given.append(next(generator))
    try:
        generator.send("last")
    except StopIteration as stop:
        given.append(stop.value)
    return given


def talk_async() -> list[Any]:
    """The same of an asynchronous one, which is closed in the end."""
    generator = async_answers(1)
    given = [stepped(generator.__anext__()), stepped(generator.asend("sent"))]
    given.append(stepped(generator.athrow(KeyError("thrown"))))
    stepped(generator.aclose())
    return given


def stepped(awaitable: Any) -> Any:
    """What an awaitable gives that waits for nothing."""
    try:
        awaitable.send(None)
    except StopIteration as stop:
        return stop.value


def raised_inside() -> None:
    """A generator into which its reader throws what it does not catch."""
    generator = answers(1)
    next(generator)
    generator.throw(ValueError("of its own"))


def dropped() -> None:
    """A generator that nobody reads to its end: its finaliser ends the call."""
    next(answers(1))


def block() -> None:
    """A call in a block."""
    with shmperf.call("block", n=1):
        plain(2)


def pair() -> None:
    """A call by hand."""
    shmperf.end_tool_call(shmperf.track_tool_call("pair", {"n": 1}))


def alone(*args: object) -> None:
    """A function that only interceptors know."""
    plain(*args)


def fails_alone() -> None:
    """One that raises."""
    raise ValueError("of its own")


async def awaited_alone(n: int) -> None:
    """One that is awaited."""
    await asyncio.sleep(0)


async def fails_awaited_alone() -> None:
    """One that raises."""
    raise ValueError("of its own")


observer = Observer("framework")


def reason(outcome: object) -> BaseException | None:
    """An exception is its own error, a result is none."""
    return outcome if isinstance(outcome, BaseException) else None


async def watched(function: Callable[..., Any], *args: object) -> None:
    """What a framework's hook makes of a call."""
    await observer.watch(observer.begin("watched", {"n": 1}), reason, function, *args)


KINDS: dict[str, Callable[[], object]] = {
    "plain": lambda: plain(1),
    "named": lambda: plain(1, of="name"),
    "long": lambda: plain("x" * 5000),
    "huge": lambda: plain(["x" * 100] * 2000),
    "fails": fails,
    "chosen": lambda: chosen(1, "text"),
    "coroutine": lambda: run(awaited(1)),
    "in a loop": lambda: run_in_a_loop(awaited(1)),
    "failing in a loop": lambda: run_in_a_loop(fails_awaited()),
    "generator": lambda: list(steps(2)),
    "left early": left_early,
    "async generator": lambda: run(through(async_steps(2))),
    "talked to": talk,
    "async talked to": talk_async,
    "raised inside": raised_inside,
    "dropped": dropped,
    "block": block,
    "pair": pair,
    "chain": lambda: intercept_tool_call("chain", alone, (1, "x")),
    "long chain": lambda: intercept_tool_call("chain", alone, ("x" * 5000,)),
    "failing chain": lambda: intercept_tool_call("chain", fails_alone),
    "awaited chain": lambda: run(intercept_tool_call("chain", awaited_alone, (1,))),
    "watched": lambda: run(watched(awaited_alone, 1)),
    "failing watched": lambda: run(watched(fails_awaited_alone)),
}


def strike(kind: Callable[[], object], nth: int) -> str:
    """Where the nth place of a call was struck; empty when it has fewer."""
    striker = Striker(nth)
    striker.watch()
    try:
        kind()
    except (Struck, ValueError):
        pass
    finally:
        striker.stop()
    return striker.where


def strike_everywhere(kind: Callable[[], object]) -> tuple[int, list[str], list[str]]:
    """Strike until there is no further place: how many, what was left open, what was current."""
    for _ in range(3):
        strike(kind, 0)
    before = shmperf.get_perf_stats()["in_flight"]
    open_after: list[str] = []
    current_after: list[str] = []
    for nth in count(1):
        where = strike(kind, nth)
        if not where:
            return nth - 1, open_after, current_after
        if parent_of(current_call.get()):
            current_after.append(where)
            current_call.set(0)
        # What an interruption left, the next call in its thread finishes.
        plain()
        if shmperf.get_perf_stats()["in_flight"] > before + len(open_after):
            open_after.append(where)
    raise AssertionError


def say_what_is_dropped(dropped: Any) -> None:
    """The interpreter's own way, but of a finaliser that was struck, or had no memory."""
    if not isinstance(dropped.exc_value, Struck | MemoryError):
        sys.__unraisablehook__(dropped)


def main(kinds: list[str]) -> None:
    """Strike calls of each of *kinds*."""
    sys.unraisablehook = say_what_is_dropped
    # One that is struck before its first step is dropped.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    found = {name: strike_everywhere(KINDS[name]) for name in kinds}
    print(json.dumps([found, shmperf.get_perf_stats()]))


# --- failures of ours -----------------------------------------------------------------------------


# What fails there is an allocation, which ``memory`` is for.
SAFE = (
    *(
        "hotpath.py",
        "hotcoroutine.py",
        "wrappers.py",
        "block.py",
        "asyncgens.py",
        "stepped.py",
        "api.py",
        "capture.py",
    ),
    *("opencall.py", "callstate.py", "slots.py", "failures.py"),
    *("gcwatch.py", "context.py", "chain.py", "everywhere.py"),
)
# Where we call what is the program's, or go one step further in it.
THE_PROGRAMS = re.compile(
    r"\b(function|fast|tool_func|_intercept_coroutine)\(|\b(generator|yield|await|coroutine)\b"
)


def failed_in(error: BaseException) -> str:
    """The line of ours that has let *error* through; none where it is the program's own."""
    found, traceback = "", error.__traceback__
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if code.co_filename.startswith(str(PACKAGE)):
            line = linecache.getline(code.co_filename, traceback.tb_lineno or 0).strip()
            found = f"{Path(code.co_filename).name}:{traceback.tb_lineno} {line}"
        traceback = traceback.tb_next
    return "" if THE_PROGRAMS.search(found) else found


def outcome(kind: Callable[[], object]) -> tuple[object, ...] | None:
    """What the program sees of a call; None when there was no memory to make it at all."""
    before = ran
    try:
        seen: tuple[object, ...] = "returned", kind()
    except ValueError as error:
        seen = "raised", error.args, error.__context__, error.__suppress_context__
    except MemoryError as error:
        stop_failing()
        where = failed_in(error)
        if not where:
            return None
        seen = "failed", where
    except SystemError:
        # Of the interpreter itself, which has found no memory for what it raises.
        return None
    stop_failing()
    return *seen, ran - before


def stop_failing() -> None:
    """No allocation fails any more."""
    if _testcapi is not None:
        _testcapi.remove_mem_hooks()


def check(expected: object, found: object, where: str) -> list[object]:
    """What is wrong behind a call that was to fail."""
    wrong: list[object] = [] if found in (expected, None) else [(where, repr(found))]
    if parent_of(current_call.get()):
        wrong.append((where, "current"))
        current_call.set(0)
    return wrong


def fail_everywhere(kind: Callable[[], object], what: str) -> list[object]:
    """How much of ours failed in turn, and what came wrong of it."""
    expected = [outcome(kind) for _ in range(3)][-1]
    wrong: list[object] = []
    for nth in count(1):
        failer = Failer(nth, (str(PACKAGE),), SAFE)
        if what == "starves":
            _testcapi.set_nomemory(nth, nth + 1)
        else:
            failer.watch()
        found = outcome(kind)
        failer.stop()
        if nth == MOST_ALLOCATIONS or (what == "fails" and not failer.where):
            return [nth - 1, wrong]
        wrong += check(expected, found, failer.where)
        plain()
    raise AssertionError


def main_with_failures(what: str, names: list[str]) -> None:
    """Let each call or allocation of ours fail once."""
    sys.unraisablehook = say_what_is_dropped
    # A coroutine that nobody could step through is dropped.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    found = {name: fail_everywhere(KINDS[name], what) for name in names}
    print(json.dumps([found, shmperf.get_perf_stats()]))


MOST_ALLOCATIONS = 400


# --- first calls, each in a fork of its own -------------------------------------------------------

made = 0


@shmperf.track
def tool(n: int) -> int:
    """A call; it counts itself."""
    global made
    made += 1
    return n


class Caller(Striker):
    """Makes a call at the nth place instead of raising there."""

    def strike(self) -> None:
        """A handler that comes back."""
        tool(2)


class Starver(Striker):
    """Lets an allocation fail; there are some thousands of them in a first call."""

    def watch(self) -> None:
        """From now on."""
        self.left *= 11
        if self.left < 6_000:
            self.where = "an allocation"
            _testcapi.set_nomemory(self.left, self.left + 1)

    def stop(self) -> None:
        """No more."""
        stop_failing()


KINDS_OF_STRIKERS: dict[str, type[Striker]] = {
    "raise": Striker,
    "call": Caller,
    "fail": Failer,
    "memory": Starver,
}


def first_call(kind: type[Striker], nth: int) -> int:
    """In a fork: 0 when struck, 1 when there was no such place, 2 when the tool did not run."""
    striker = kind(nth, (str(PACKAGE),), SAFE if kind is Failer else ())
    striker.watch()
    try:
        if tool(1) != 1:
            return 4
    except Struck:
        pass
    except MemoryError as error:
        stop_failing()
        if failed_in(error):
            return 5
    finally:
        striker.stop()
    before = made
    # What comes later is recorded, whatever the first call went through.
    if tool(3) != 3 or made != before + 1:
        return 2
    return 0 if striker.where else 1


def main_with_first_calls(action: str, step: int) -> None:
    """Strike until there is no further place."""
    # Struck between opening a file and holding on to it.
    warnings.simplefilter("ignore", ResourceWarning)
    kind: type[Striker] = KINDS_OF_STRIKERS[action]
    tool(0)
    wrong: list[Any] = []
    begun = made
    for nth in count(1 + sys.version_info.minor % step, step):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            outcome = 3
            try:
                outcome = first_call(kind, nth)
                os.write(writer, str(made - 1).encode())
            finally:
                os._exit(outcome)
        os.close(writer)
        _, status = os.waitpid(child, 0)
        told = os.read(reader, 16)
        os.close(reader)
        begun += int(told or 0)
        if os.waitstatus_to_exitcode(status) not in (0, 1):
            wrong.append((nth, os.waitstatus_to_exitcode(status)))
        if os.waitstatus_to_exitcode(status) == 1:
            break
    print(json.dumps([nth - step, wrong, begun, shmperf.get_perf_stats()]))


if __name__ == "__main__":
    if sys.argv[1:2] in (["fails"], ["starves"]):
        main_with_failures(sys.argv[1], sys.argv[2:])
    elif sys.argv[1:2] == ["only"]:
        main(sys.argv[2:])
    elif sys.argv[1:]:
        main_with_first_calls(sys.argv[1], int(sys.argv[2]))
    else:
        main(list(KINDS))
