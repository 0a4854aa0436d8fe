"""
Kept calls as folded stacks, weighted by own time: what flame graph tools read.

A line is ``outer;inner;innermost 123``: tools from the root down, and how many microseconds no call
below was open, summed over all calls with these callers (Brendan Gregg's stack collapse format).
Calls that never ended have no time of their own; what ran below them is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shmperf.storage.kept import KeptCall

from .lanes import placed

__all__ = ["export"]

# Different stacks; a program of more than these has them under one line.
_MOST_STACKS = 100_000
_REST = ("(other stacks)",)
# A semicolon parts tools, a space the number, a line's end the lines.
_SAFE = str.maketrans({";": ":", " ": "_", "\n": "_", "\r": "_", "\t": "_", "\0": "_"})


def export(calls: Iterable[KeptCall]) -> Iterator[bytes]:
    """A line a stack, in the order of their names."""
    own_us: dict[tuple[str, ...], float] = {}
    for turn in placed(calls):
        if turn.is_begin or not turn.call.is_ended:
            continue
        stack = tuple(above.call.tool for above in turn.call.stack())
        if stack not in own_us and len(own_us) >= _MOST_STACKS:
            stack = _REST
        own_us[stack] = own_us.get(stack, 0.0) + turn.call.own_us
    for stack, spent_us in sorted(own_us.items()):
        if round(spent_us):
            line = f"{';'.join(map(_name, stack))} {round(spent_us)}\n"
            yield line.encode("utf-8", "backslashreplace")


def _name(tool: str) -> str:
    return tool.translate(_SAFE) or "(no name)"
