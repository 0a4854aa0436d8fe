"""What share of a core the collector takes while nobody calls anything."""

from __future__ import annotations

import time

from .measure import Row, pinned, row_of
from .rig import rig_of

__all__ = ["idle"]

_STEPS = 100


def idle(*, quick: bool) -> list[Row]:
    """The rows: the CPU time of idle steps, at the pace at which they come."""
    rounds = 10 if quick else 30
    with pinned():
        return [
            _idle("1 worker, 1 tool", 1, 1, rounds, 0.5),
            _idle("64 workers × 1,000 tools", 64, 1_000, rounds, 1.0),
        ]


def _idle(name: str, workers: int, tools: int, rounds: int, target: float) -> Row:
    shares = []
    with rig_of() as rig:
        for worker in [rig.worker, *(rig.join() for _ in range(workers - 1))]:
            for number in range(tools):
                worker.add_tool(f"tool{number}")
        rig.fill_families()
        rig.run()
        wait_s = rig.collector.options.collector.idle_wait_ms / 1000
        for _ in range(rounds):
            start = time.process_time()
            for _ in range(_STEPS):
                rig.clock.now_s += wait_s
                rig.collector.server.wait(0)
                rig.collector.step()
            shares.append((time.process_time() - start) / _STEPS / wait_s * 100)
    return row_of(f"collector: idle, {name}", shares, "% of a core", target=target)
