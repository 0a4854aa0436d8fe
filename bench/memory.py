"""
Memory of workers and collector, by number of tools, limit and number of workers.

Resident means a process's own memory, neither files nor shared memory, above what it was before:
a worker's before it imported shmperf, the collector's when it had nothing but one call. Shared is
what of a worker's segment is really there.
"""

from __future__ import annotations

import json

import msgspec

from .measure import (
    NO_RUNS,
    Row,
    anonymous_mib,
    private_place,
    resident_mib,
    row_of,
    run_program,
    run_python,
)
from .rig import rig_of

__all__ = ["memory"]

# Tools, limit, workers.
_TARGETED = (100, 1_000, 1)
_MOST_TOOLS = (1_000, 100, 1)
_CASES = ((1, 100, 1), (100, 100, 1), _TARGETED, _MOST_TOOLS, (100, 100, 8), (100, 100, 64))
_QUICK = (_TARGETED, _MOST_TOOLS)
_SHARED_TARGET_MIB = 6
_KEPT_TARGET_MIB = 10


def memory(*, quick: bool) -> list[Row]:
    """The rows."""
    rows = []
    for case in _QUICK if quick else _CASES:
        found = [_measured(case) for _ in range(3 if case == _TARGETED and not quick else 1)]
        rows += _rows(case, found)
    for how, batch_size in (("written as by default", 100), ("nothing written", 1_000_000)):
        with private_place() as (cwd, environ):
            code = f"from bench.memory import kept; print(kept({batch_size}))"
            used = float(run_python(code, cwd, environ))
        name = f"collector alone: 100 tools × 1,000 kept records, {how}"
        rows.append(Row(name=name, value=used, unit="MiB"))
    return rows


def _measured(case: tuple[int, int, int]) -> dict[str, float]:
    """MiB of a worker and the collector above what they had, and of a worker's segment."""
    tools, limit, workers = case
    with private_place() as (cwd, environ):
        text = f"{NO_RUNS}default_perf_points: {limit}\n"
        (cwd / "config/tool_perf_limits.yaml").write_text(text)
        printed = run_program("memory_of_workers", cwd, environ, tools, limit, workers)
    found = json.loads(printed.splitlines()[-1])
    of = {name: anonymous_mib(found[name]) for name in found if isinstance(found[name], str)}
    return {
        "worker": of["worker"] - of["before"],
        "collector": of["collector"] - of["collector_before"],
        "shared": found["shared"],
        "kept": found["kept"],
        "lost": found["lost"],
    }


def _rows(case: tuple[int, int, int], found: list[dict[str, float]]) -> list[Row]:
    tools, limit, workers = case
    name = f"{tools:,} tools, limit {limit:,}, {workers} workers".replace("1 tools", "1 tool")
    name = name.replace(" 1 workers", " 1 worker")
    return [
        row_of(
            f"{name}: collector, resident",
            [one["collector"] for one in found],
            "MiB",
            target=_KEPT_TARGET_MIB if case == _TARGETED else None,
        ),
        row_of(f"{name}: a worker, resident", [one["worker"] for one in found], "MiB"),
        row_of(
            f"{name}: a worker, shared",
            [one["shared"] for one in found],
            "MiB",
            target=_SHARED_TARGET_MIB if case == _MOST_TOOLS else None,
        ),
        row_of(f"{name}: records kept", [one["kept"] for one in found], "records"),
        row_of(f"{name}: lost meanwhile", [one["lost"] for one in found], "calls"),
    ]


def kept(batch_size: int) -> float:
    """Resident MiB that the collector's part takes in this process, fed at its own pace."""
    config = f"default_perf_points: 1000\nstorage: {{batch_size: {batch_size}}}\n"
    body = msgspec.msgpack.encode({"param1": "value1"})
    tools = [f"tool{number}" for number in range(100)]
    with rig_of(config) as rig:
        for tool in tools:
            rig.worker.add_tool(tool, ("params",))
        rig.run()
        before_mib = resident_mib()
        for _ in range(100):
            for tool in tools:
                for _ in range(10):
                    rig.store(tool, body=body)
            rig.run()
            rig.collector.flush_piece()
        return resident_mib() - before_mib
