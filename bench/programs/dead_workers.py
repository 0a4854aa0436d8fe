"""
Forks workers that call tools and are gone, then calls every tool once for each line it reads.

Arguments: system (``shmperf`` or ``prometheus``), tools, workers, tools of a worker. Prints a line
when all workers have gone, and one each time it has called.
"""

import os
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

Tool = Callable[[], object]

_AT_ONCE = 4
_CALLS = 3
# Of a tool's first calls each is among its slowest ones.
_WARM = 10


class _System(NamedTuple):
    """Tools as a system records them, and what makes sure that it has taken all calls."""

    tools: list[Tool]
    settle: Callable[[], object] = lambda: None


def _shmperf(names: list[str]) -> _System:
    import shmperf  # noqa: PLC0415  the other system's programs are without it

    return _System([shmperf.track(name)(_nothing()) for name in names], shmperf.get_perf_stats)


def _nothing() -> Tool:
    return lambda: None


def _prometheus(names: list[str]) -> _System:
    import prometheus_client  # noqa: PLC0415  the same

    histogram = prometheus_client.Histogram("tool_seconds", "tools", ["tool"])

    def observed(name: str) -> Tool:
        def tool() -> None:
            with histogram.labels(name).time():
                pass

        return tool

    return _System([observed(name) for name in names])


_SYSTEMS = {"shmperf": _shmperf, "prometheus": _prometheus}


def _shares(tools: list[Tool], workers: int, share: int) -> Iterator[list[Tool]]:
    """The tools of each worker, in turn."""
    for number in range(workers):
        yield [tools[(number * share + place) % len(tools)] for place in range(share)]


def _work(tools: list[Tool]) -> None:
    """Start a worker that calls these and is gone without a word."""
    if not os.fork():
        for tool in tools * _CALLS:
            tool()
        os._exit(0)


def _call(tools: list[Tool], settle: Callable[[], object]) -> None:
    for tool in tools:
        tool()
    settle()


def main() -> None:
    """Workers that go, then this process's own calls."""
    name, count, workers, share = sys.argv[1], *map(int, sys.argv[2:])
    tools, settle = _SYSTEMS[name]([f"tool_{number}" for number in range(count)])
    # A session whose workers have all gone ends; this one stays.
    tools[0]()
    alive = 0
    for one in _shares(tools, workers, min(share, count)):
        _work(one)
        alive += 1
        if alive == _AT_ONCE:
            os.wait()
            alive -= 1
    for _ in range(alive):
        os.wait()
    for _ in range(_WARM):
        _call(tools, settle)
    print("gone", flush=True)
    for _ in sys.stdin:
        _call(tools, settle)
        print("called", flush=True)


if __name__ == "__main__":
    main()
