"""What the tests of integrations share: a program under a collector, and what was counted of it."""

from __future__ import annotations

import json
from typing import Any

from tests.support import PYTHON, Place, program_text

__all__ = ["calls", "counts", "edges", "only", "run"]


def run(place: Place, name: str, *arguments: str, optimize: bool = False, **environ: str) -> str:
    """Run a program of tests/programs to its end, drained; its standard output."""
    place.write("program.py", program_text(name))
    options = ["--optimize"] if optimize else []
    # Frameworks warn on their own account.
    environ = {"PYTHONWARNINGS": "ignore", **environ}
    return place.shmperf("run", *options, "--", PYTHON, "program.py", *arguments, **environ)


def counts(place: Place) -> dict[str, tuple[int, int]]:
    """Finished calls and errors by tool, as ``stats`` shows them; the books balance."""
    stats = place.stats()
    assert not stats["faults"], stats["faults"]
    assert not stats["in_flight"], stats
    return {name: (one["count"], one["errors"]) for name, one in stats["tool_stats"].items()}


def edges(place: Place) -> set[tuple[str | None, str, int]]:
    """Parent, tool and how many calls, as ``tree`` shows them."""
    nodes = [node for node in place.ask("tree") if node["calls"]]
    return {(node["parent"], node["tool"], node["calls"]) for node in nodes}


def calls(place: Place, tool: str) -> list[dict[str, Any]]:
    """The history of a tool, with its parameters and metadata read."""
    found = []
    for line in place.lines(tool):
        data = line["data"]
        for key in ("p", "params", "metadata"):
            # Of an aborted call they may not be known.
            if isinstance(data.get(key), str) and data[key]:
                data[key] = json.loads(data[key])
        found.append(data)
    return found


def only(place: Place, tool: str) -> dict[str, Any]:
    """The one call of a tool."""
    (found,) = calls(place, tool)
    return found
