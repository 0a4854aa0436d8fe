"""The module in C alone, before anything of Python is known to it; prints what calls raise."""

from __future__ import annotations

import json
from array import array
from typing import Any

from shmperf.compiled.chosen import hot

steps: Any = hot.Steps.__new__(hot.Steps)
CALLS = [
    lambda: hot.Steps("name"),
    lambda: steps._enter(),
    lambda: steps._exit(None, None, None),
    lambda: hot.Begin()["tool", {}],
    lambda: hot.Begin()[3],
    lambda: hot.end_pair("id", None, None),
    lambda: hot.adopt(),
    lambda: hot.adopt_steps(),
    lambda: hot.adopt_loop(),
    lambda: hot.adopt_blocks(3),
    lambda: hot.adopt_pairs(int, int),
    lambda: hot.Fast(),
    lambda: hot.Binding(1),
    lambda: hot.boost(),
    lambda: hot.read_slots(1, 2, 3, 4),
    lambda: hot.read_slots(memoryview(bytes(256)), 1, 1, 1),
    lambda: hot.read_marked(1, 2),
    lambda: hot.read_marked(memoryview(bytes(256)), array("Q", [1, 1, 1])),
    lambda: hot.read_marked(memoryview(bytes(256)), array("Q", [1 << 63, 0, 1])),
    lambda: hot.Batch(),
    lambda: hot.Kept("x"),
    lambda: hot.Kept(3).add(1, 2, 3),
    lambda: hot.Kept(3).take({}, 1, 2, (), 1, 1),
    lambda: hot.count_durations(1, 2, 3, 4),
    lambda: hot.last_of_rows([1]),
    lambda: hot.lines([1], 2),
    lambda: hot.settle({}, {}, [], None, 1, [], 7, 8),
    lambda: hot.add_children({}, set(), "tool", 1, 2, 3, 4),
    lambda: hot.are_in_order([1]),
    lambda: hot.adopt_call(3),
]


def raised(call: Any) -> str:
    try:
        return repr(call())
    except Exception as error:  # noqa: BLE001  whatever it is
        return type(error).__name__


print(json.dumps([raised(call) for call in CALLS]))
