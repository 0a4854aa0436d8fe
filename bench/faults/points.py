"""
Test points: the labelled lines of shmperf, and how a process is made to stop just before one.

A label is a comment, ``# point: NAME`` behind a line or ``# point below: NAME`` above one, so it
costs nothing. Only a process of the campaign traces its own lines, and only in the functions that
hold the line it waits for.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import shmperf

__all__ = ["Point", "count_points", "points", "points_in", "stop_at"]

_LABEL = re.compile(r"# point( below)?: ([a-z-]+)$")
_SOURCES = Path(shmperf.__file__).parent


class Point(NamedTuple):
    """A labelled line."""

    name: str
    file: str
    line: int


@cache
def points() -> dict[str, Point]:
    """Every labelled line of shmperf, by name."""
    found: dict[str, Point] = {}
    for path in sorted(_SOURCES.rglob("*.py")):
        for number, text in enumerate(path.read_text().splitlines(), 1):
            label = _LABEL.search(text)
            if label is None:
                continue
            name = label[2]
            if name in found:
                raise ValueError(f"{path.name}:{number}: the label {name} is there twice")
            found[name] = Point(name, str(path), number + bool(label[1]))
    return found


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
    times = itertools.count(1)

    def hit(_: Point) -> None:
        if next(times) == nth:
            _act(action)

    _trace({(point.file, point.line): point}, hit)


def count_points() -> Counter[str]:
    """From now on: how often this process reaches which point."""
    counts: Counter[str] = Counter()

    def hit(point: Point) -> None:
        counts[point.name] += 1

    _trace({(point.file, point.line): point for point in points().values()}, hit)
    return counts


def _act(action: str) -> None:
    what, _, seconds = action.partition(":")
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        time.sleep(float(seconds))


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
