"""
What the interceptors cost: a call through all three, and through each, above the bare chain.

A bare chain has no interceptor in it. Runs in a process of its own, its calls drained in between.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import shmperf
from shmperf.interceptors import (
    BugCatcherInterceptor,
    InterceptorChain,
    OptimizedPerfTrackerInterceptor,
    PerfCatcherInterceptor,
    ToolInterceptor,
    get_global_interceptor_chain,
)

from .measure import Row, Series, collector_pid, in_turn, pin, private_place, row_of, run_python
from .peers import Subject, timed, tool

__all__ = ["interceptors"]

_COUNT = 1_000
_TITLES = {
    "all": "interceptors: all three",
    "all, two arguments": "interceptors: all three, two arguments",
    "tracker": "interceptors: OptimizedPerfTrackerInterceptor",
    "bugs": "interceptors: BugCatcherInterceptor",
    "durations": "interceptors: PerfCatcherInterceptor",
    "nothing": "interceptors: one that does nothing",
}
_TARGETS = {"all": 3.0}


def interceptors(*, quick: bool) -> list[Row]:
    """A row each, above the bare chain."""
    with private_place() as (cwd, environ):
        code = f"from bench.interceptors import main; main({15 if quick else 60})"
        series: Series = json.loads(run_python(code, cwd, environ).splitlines()[-1])
    return [
        row_of(
            title,
            [
                (one - bare) / 1000
                for one, bare in zip(series[name], series[_bare(name)], strict=True)
            ],
            "µs",
            target=_TARGETS.get(name),
        )
        for name, title in _TITLES.items()
    ]


def _bare(name: str) -> str:
    return "bare, two arguments" if name.endswith("two arguments") else "bare"


def main(rounds: int) -> None:
    """Measure in this process, and print the series as one line of JSON."""
    subjects = _subjects()
    subjects["all"](_COUNT)
    pin(collector_pid())
    print(json.dumps(in_turn(subjects, rounds, _COUNT)))


def _tool_with_two(one: int, two: str) -> None:
    """A tool with parameters that does nothing."""


def _subjects() -> dict[str, Subject]:
    bare, everything = InterceptorChain(), get_global_interceptor_chain()
    return {
        "bare": _drained(timed(_through(bare, tool))),
        "bare, two arguments": _drained(timed(_through(bare, _tool_with_two, (3, "abc")))),
        "all": _drained(timed(_through(everything, tool))),
        "all, two arguments": _drained(timed(_through(everything, _tool_with_two, (3, "abc")))),
        "tracker": _drained(timed(_through(_only(OptimizedPerfTrackerInterceptor()), tool))),
        "bugs": _drained(timed(_through(_only(BugCatcherInterceptor()), tool))),
        "durations": _drained(timed(_through(_only(PerfCatcherInterceptor()), tool))),
        "nothing": _drained(timed(_through(_only(ToolInterceptor()), tool))),
    }


def _only(interceptor: ToolInterceptor) -> InterceptorChain:
    chain = InterceptorChain()
    chain.add_interceptor(interceptor)
    return chain


def _through(
    chain: InterceptorChain, function: Callable[..., Any], args: tuple[Any, ...] = ()
) -> Callable[[], Any]:
    return lambda: chain.intercept_tool_call("tool", function, args)


def _drained(subject: Subject) -> Subject:
    """*subject* with empty rings to begin with."""

    def run(count: int) -> float:
        shmperf.get_perf_stats("tool")
        return subject(count)

    return run
