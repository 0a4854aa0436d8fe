"""
The compiled path beside the one in Python: what each adds to a call, and their ratio.

Two interpreters with a session each, which take turns round by round; every figure is above the
same call unrecorded in its own process.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import shmperf
from shmperf.compiled.chosen import hot, path

from .measure import Row, Series, collector_pid, in_turn, pin, private_place, ratio, row_of
from .overhead import awaited, block, coroutine, drained, given, in_detail, pair, with_two
from .peers import Subject, timed, tool

__all__ = ["BY_PATH", "by_path", "paths", "side_by_side"]

_COUNT = 500
# From 3.12 on a function is entered in C; before, a function of one line calls it.
_FUNCTIONS = 0.22 if sys.version_info >= (3, 13) else 0.5
_TARGETS = {
    "no arguments": _FUNCTIONS,
    "two arguments": _FUNCTIONS,
    "keyword arguments": _FUNCTIONS,
    "a dict argument": _FUNCTIONS,
    "a method": _FUNCTIONS,
    "optimization mode": 0.5,
}
# The end of a ratio's name, where those of the figures are ``, pure`` and ``, compiled``.
BY_PATH = ": compiled ÷ pure"
_PATHS = {"pure": "0", "compiled": "1"}
_CONFIG = "optimization: {trigger_threshold: 0}\nsampling: {tools: {counted: 1000000}}\n"


def paths(*, quick: bool) -> list[Row]:
    """The rows; none of the ratios where this installation is pure."""
    return _rows(by_path("bench.paths", 10 if quick else 60, _CONFIG))


def by_path(module: str, rounds: int, config: str = "") -> dict[str, Series]:
    """What *module*'s ``main`` measures on each path, which take turns; a round for each line."""
    with ExitStack() as stack:
        measured = {
            name: stack.enter_context(_measuring(module, switch, config))
            for name, switch in _PATHS.items()
        }
        found: dict[str, Series] = {name: {} for name in measured}
        for number in range(rounds):
            for name in measured if number % 2 else reversed(measured):
                for what, figures in next(measured[name]).items():
                    found[name].setdefault(what, []).extend(figures)
    return found


def _rows(found: dict[str, Series]) -> list[Row]:
    rows = side_by_side(found, "µs", _TARGETS)
    if hot is None:
        return rows
    track = found["compiled"]["no arguments"]
    for what in ("a call block", "a coroutine", "a pair"):
        name = f"{what} ÷ no arguments, compiled"
        rows.append(ratio(name, found["compiled"][what], track, 1.6))
    counted = found["compiled"]["a call that is counted"]
    rows.append(ratio("counted ÷ recorded, compiled", counted, track, 0.2))
    return rows


def side_by_side(
    found: dict[str, Series],
    unit: str,
    targets: Mapping[str, float],
    *,
    at_least: bool = False,
) -> list[Row]:
    """What each path took for each thing, and the ratio; none where this installation is pure."""
    rows = [
        row_of(f"{what}, {name}", figures, unit)
        for what in found["pure"]
        for name, series in found.items()
        if (figures := series[what])
    ]
    if hot is None:
        print(f"this installation has one path, {path()}", file=sys.stderr)
        return rows
    return rows + [
        ratio(
            f"{what}{BY_PATH}",
            found["compiled"][what],
            figures,
            targets.get(what),
            at_least=at_least,
        )
        for what, figures in found["pure"].items()
    ]


@contextmanager
def _measuring(module: str, switch: str, config: str) -> Iterator[Iterator[Series]]:
    """What an interpreter of that path measures, a round each time it is asked."""
    with private_place() as (cwd, environ):
        (cwd / "config/tool_perf_limits.yaml").write_text(config)
        code = f"from {module} import main; main()"
        with subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=cwd,
            env=environ | {"SHMPERF_COMPILED": switch},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            yield _asked(process)
            if process.stdin is not None:
                process.stdin.close()


def _asked(process: subprocess.Popen[str]) -> Iterator[Series]:
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("it has no pipes")
    while True:
        process.stdin.write("\n")
        process.stdin.flush()
        yield json.loads(process.stdout.readline())


def main() -> None:
    """Measure a round in this process for each line that comes in; µs above the bare calls."""
    subjects = _subjects()
    pin(collector_pid())
    for _ in sys.stdin:
        series = in_turn({name: subject for name, (subject, _) in subjects.items()}, 1, _COUNT)
        above = {
            name: [(one - other) / 1000 for one, other in zip(figures, series[bare], strict=True)]
            for name, figures in series.items()
            if (bare := subjects[name][1])
        }
        print(json.dumps(above), flush=True)


class _Tool:
    def bare(self, one: int) -> None:
        """A method."""

    recorded = shmperf.track(name="method")(bare)


def _subjects() -> dict[str, tuple[Subject, str]]:
    """By name, and the bare call that each is compared with; none for these themselves."""
    tracked, two = shmperf.track(name="tool")(tool), shmperf.track(name="with_two")(with_two)
    counted, made = shmperf.track(name="counted")(tool), _Tool()
    counted()
    return {
        "bare": (timed(tool), ""),
        "bare two": (given(with_two, 3, "abc"), ""),
        "bare keywords": (timed(lambda: with_two(one=3, two="abc")), ""),
        "bare method": (timed(lambda: made.bare(3)), ""),
        "bare coroutine": (awaited(coroutine), ""),
        "no arguments": (drained(timed(tracked)), "bare"),
        "two arguments": (drained(given(two, 3, "abc")), "bare two"),
        "keyword arguments": (
            drained(timed(lambda: two(one=3, two="abc"))),
            "bare keywords",
        ),
        "a dict argument": (drained(given(two, 3, {"param1": "value1"})), "bare two"),
        "a text of 10,000 characters": (drained(given(two, 3, "0123456789" * 1000)), "bare two"),
        "a method": (drained(timed(lambda: made.recorded(3))), "bare method"),
        "a call block": (drained(timed(block)), "bare"),
        "a pair": (drained(timed(pair)), "bare"),
        "a coroutine": (
            drained(awaited(shmperf.track(name="coroutine")(coroutine))),
            "bare coroutine",
        ),
        "a call that is counted": (timed(counted), "bare"),
        "optimization mode": (in_detail(drained(timed(tracked))), "bare"),
    }
