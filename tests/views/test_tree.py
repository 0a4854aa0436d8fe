"""The tree of tools on a terminal."""

from __future__ import annotations

import io
import re
from typing import Any

from rich.cells import cell_len
from rich.console import Console

from shmperf.views.tree import call_tree


def edge(parent: str | None, tool: str, calls: int, total_ms: float, own_ms: float) -> Any:
    total_ns, own_ns = int(total_ms * 1e6), int(own_ms * 1e6)
    return {
        "parent": parent, "tool": tool, "calls": calls, "total_ns": total_ns, "own_ns": own_ns
    }  # fmt: skip


EDGES = [
    edge(None, "serve", 10, 1000, 100),
    edge("serve", "search", 20, 600, 150),
    edge("search", "fetch", 60, 450, 450),
    edge("serve", "rank", 10, 300, 300),
    edge("fetch", "serve", 1, 1, -5),
    edge("hidden", "rank", 1, 1, 0.001),
]
TOOLS = {"fetch": {"p50_s": 0.001, "p95_s": 0.02, "p99_s": 0.5}}


def shown(width: int, edges: Any = EDGES, tools: Any = TOOLS) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=width, highlight=False, markup=False).print(call_tree(edges, tools))
    return file.getvalue().splitlines()


def line_of(lines: list[str], text: str) -> str:
    (line,) = (line for line in lines if text in line)
    return line


def test_each_tool_has_its_share_of_own_time_and_its_percentiles() -> None:
    """Bars are as long as the shares, which add up; a tool without statistics has none."""
    lines = shown(200)
    fetch = line_of(lines, "fetch")
    assert re.sub(r"\s+", " ", fetch.strip()) == (
        "│ └─ fetch ████▌ 45% 450 ms 60 450 ms 1 ms 20 ms 500 ms"
    )
    assert "–" in line_of(lines, "search")
    shares = [int(found) for line in lines for found in re.findall(r"(\d+)%", line)]
    assert sum(shares) == 100
    assert line_of(lines, "(again)").split()[-2:] == ["serve", "(again)"]
    assert "hidden (open)" in "\n".join(lines)


def test_what_hardly_takes_time_has_a_bar_and_nothing_has_none() -> None:
    """One sign for the least share; an own time below zero, by late children, counts as none."""
    lines = shown(200, [edge(None, "much", 1, 1000, 1000), edge(None, "least", 1, 1, 0.0001)])
    assert line_of(lines, "least").count("▏") == 1
    lines = shown(200, [edge(None, "late", 1, 1, -1)])
    assert not set("▏▎▍▌▋▊▉█") & set(line_of(lines, "late"))
    assert "0%" in line_of(lines, "late")


def test_a_narrow_terminal_keeps_tools_and_shares() -> None:
    """At 40 columns no line is broken; the rest is left out, not cut."""
    lines = shown(40)
    assert max(map(cell_len, lines)) <= 40
    assert "████▌" in line_of(lines, "fetch")
    assert "45%" in line_of(lines, "fetch")
    assert "p95" not in lines[1]


def test_a_graph_with_endless_ways_is_bounded() -> None:
    """Tools that all call each other have more ways than anybody reads: it is said."""
    names = [f"t{number}" for number in range(14)]
    edges = [edge(None, name, 1, 1, 1) for name in names]
    edges += [edge(one, other, 1, 1, 1) for one in names for other in names]
    lines = shown(200, edges)
    assert len(lines) < 1_020
    assert any("--json" in line for line in lines)
