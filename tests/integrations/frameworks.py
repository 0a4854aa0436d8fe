"""What the tests of integrations share: a program under a collector, and what was counted of it."""

from __future__ import annotations

import json
import re
import textwrap
from typing import Any

from tests.support import PYTHON, Place, program_text

__all__ = ["calls", "counts", "edges", "only", "run"]


def run(place: Place, *parts: str, optimize: bool = False, **environ: str) -> str:
    """
    Run a program to its end, drained; its standard output.

    Its name in tests/programs and its arguments, or the parts of its text where cases differ.
    """
    named = re.fullmatch(r"[a-z_]+/[a-z_]+", parts[0]) is not None
    texts, arguments = ([program_text(parts[0])], parts[1:]) if named else (parts, ())
    place.write("program.py", "\n".join(textwrap.dedent(text) for text in texts))
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
