"""
Test points: the labelled lines of shmperf, and how a process is made to stop just before one.

A label is a comment, ``# point: NAME`` behind a line or ``# point below: NAME`` above one, so it
costs nothing. Only a process of the campaign traces its own lines, and only in the functions that
hold the line it waits for.

In C it is ``POINT("NAME")`` above a line, which only the campaign's own build of the compiled path
knows (`instrumented`, ``points.c``). The step that is called ``row-id`` in both is two points:
``row-id`` in Python, ``compiled-row-id`` in C.
"""

from __future__ import annotations

import ctypes
import itertools
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import shmperf
from shmperf.compiled.chosen import hot

__all__ = [
    "Point",
    "count_points",
    "instrumented_build",
    "points",
    "points_for",
    "points_in",
    "stop_at",
]

_LABEL = re.compile(r"# point( below)?: ([a-z-]+)$")
_LABEL_IN_C = re.compile(r'\bPOINT\("([a-z-]+)"\);$')
_IN_C = "compiled-"
_SOURCES = Path(shmperf.__file__).parent


class Point(NamedTuple):
    """A labelled line."""

    name: str
    file: str
    line: int

    @property
    def is_compiled(self) -> bool:
        """True of a line in C."""
        return self.file.endswith((".c", ".h"))


@cache
def points() -> dict[str, Point]:
    """Every labelled line of shmperf, by name."""
    found: dict[str, Point] = {}
    for path in sorted(path for kind in ("*.py", "*.c", "*.h") for path in _SOURCES.rglob(kind)):
        for point in _labels_in(path):
            if point.name in found:
                raise ValueError(f"{path.name}:{point.line}: {point.name} is there twice")
            found[point.name] = point
    return found


def _labels_in(path: Path) -> Iterator[Point]:
    for number, text in enumerate(path.read_text().splitlines(), 1):
        if path.suffix != ".py" and (label := _LABEL_IN_C.search(text)):
            yield Point(_IN_C + label[1], str(path), number + 1)
        elif path.suffix == ".py" and (label := _LABEL.search(text)):
            yield Point(label[2], str(path), number + bool(label[1]))


def points_for(*, in_c: bool) -> dict[str, Point]:
    """Those that a process can be stopped at: all, or those in Python alone."""
    return {name: point for name, point in points().items() if in_c or not point.is_compiled}


def points_in(*files: str) -> frozenset[str]:
    """
    The names of the labels in *files*, as paths within the package.

    Raises ValueError for a file without any: one that has moved must not fall out of the campaign.
    """
    found = {file: set[str]() for file in files}
    for point in points().values():
        inside = Path(point.file).relative_to(_SOURCES).as_posix()
        if inside in found:
            found[inside].add(point.name)
    without = [file for file, names in found.items() if not names]
    if without:
        raise ValueError(f"no test points in {', '.join(without)}")
    return frozenset().union(*found.values())


def stop_at(name: str, nth: int, action: str) -> None:
    """
    From now on: at the *nth* time that this process reaches the point, *action*, once.

    ``kill``, ``stop`` (until somebody sends SIGCONT) or ``pause:SECONDS``; threads and forks of
    this process count along.
    """
    point = points()[name]
    if point.is_compiled:
        _stop_in_c(point, nth, action)
        return
    times = itertools.count(1)

    def hit(_: Point) -> None:
        if next(times) == nth:
            _act(action)

    _trace({(point.file, point.line): point}, hit)


def count_points() -> Callable[[], Counter[str]]:
    """From now on: how often this process reaches which point; what tells it, when asked."""
    counts: Counter[str] = Counter()
    in_python = points_for(in_c=False).values()
    in_c = [point for point in points().values() if point.is_compiled]
    build = instrumented_build()

    def hit(point: Point) -> None:
        counts[point.name] += 1

    def counted() -> Counter[str]:
        if build is None:
            return counts
        return counts + Counter({point.name: build.times_at(_label(point)) for point in in_c})

    if build is not None:
        build.count_points()
    _trace({(point.file, point.line): point for point in in_python}, hit)
    return counted


_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


def _act(action: str) -> None:
    what, _, seconds = action.partition(":")
    if what in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[what])
    else:
        time.sleep(float(seconds))


@cache
def instrumented_build() -> ctypes.CDLL | None:
    """What `points.c` offers of the compiled path that runs here; None where it is not in there."""
    if hot is None:
        return None
    build = ctypes.CDLL(hot.__file__)
    if not hasattr(build, "stop_at"):
        return None
    build.stop_at.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_int, ctypes.c_uint64]
    build.times_at.argtypes, build.times_at.restype = [ctypes.c_char_p], ctypes.c_uint64
    return build


@cache
def _label(point: Point) -> bytes:
    """As C has it, which keeps it; so does this."""
    return point.name.removeprefix(_IN_C).encode()


def _stop_in_c(point: Point, nth: int, action: str) -> None:
    build = instrumented_build()
    if build is None:
        raise LookupError(f"{point.name}: the compiled path that runs here has no points")
    what, _, seconds = action.partition(":")
    pause_ns = int(float(seconds or 0) * 1e9)
    if build.stop_at(_label(point), nth, _SIGNALS.get(what, 0), pause_ns):
        raise LookupError(f"{point.name}: points.c has no room for so many")


def _trace(wanted: dict[tuple[str, int], Point], hit: Callable[[Point], None]) -> None:
    if sys.version_info >= (3, 12):
        _monitor(wanted, hit)
        return
    # Which lines of a code object are wanted; by the object, for equal ones may lie elsewhere.
    known: dict[int, dict[int, Point]] = {}

    def on_call(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
        code = frame.f_code
        lines = known.get(id(code))
        if lines is None:
            lines = known[id(code)] = _lines_of(code, wanted)
        if not lines:
            return None

        def on_line(frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ARG001
            if event == "line":
                point = lines.get(frame.f_lineno)
                if point is not None:
                    hit(point)
            return on_line

        return on_line

    threading.settrace(on_call)
    sys.settrace(on_call)


def _lines_of(code: CodeType, wanted: dict[tuple[str, int], Point]) -> dict[int, Point]:
    lines = {line for _, _, line in code.co_lines() if line}
    return {
        line: point
        for (file, line), point in wanted.items()
        if line in lines and file == code.co_filename
    }


def _monitor(wanted: dict[tuple[str, int], Point], hit: Callable[[Point], None]) -> None:
    """The same by `sys.monitoring`, which leaves all other lines at full speed."""
    monitoring: Any = vars(sys)["monitoring"]
    disable = monitoring.DISABLE

    def on_line(code: CodeType, line: int) -> Any:
        point = wanted.get((code.co_filename, line))
        if point is None:
            return disable
        hit(point)
        return None

    tool = monitoring.DEBUGGER_ID
    if monitoring.get_tool(tool) is None:
        monitoring.use_tool_id(tool, "shmperf-faults")
    monitoring.register_callback(tool, monitoring.events.LINE, on_line)
    monitoring.set_events(tool, monitoring.events.LINE)
