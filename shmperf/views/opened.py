"""The calls that are open now, on a terminal: how long, called by whom, with which parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from .columns import Column, Columns
from .formatting import chain, duration, printable

__all__ = ["open_calls", "stacked_calls"]

_LONGEST_NAME = 60
_COLUMNS = (
    Column("tool", 0, 12, is_text=True),
    Column("running", 0),
    Column("called by", 2, 16, is_text=True),
    Column("parameters", 1, 16, is_text=True),
    Column("pid", 3),
    Column("id", 4, is_text=True),
)


def open_calls(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """The calls that are open now, the one that has been open for longest first."""
    if not rows:
        return Text("no call is open")
    return Columns(_COLUMNS, map(_cells, rows))


def _cells(row: Mapping[str, Any]) -> list[str | Text]:
    return [
        Text(printable(row["tool"], _LONGEST_NAME) or '""', "bold"),
        duration(row["running_s"]),
        chain(row["chain"]),
        "–" if row["params"] is None else printable(row["params"], 80),
        str(row["pid"]),
        row["id"],
    ]


def stacked_calls(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """
    Each open call with its parameters, and where it is: the innermost function first.

    Functions that belong to a call below it are shown with that one.
    """
    below: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["parent"] is not None and row["stack"] is not None:
            below.setdefault(row["parent"], []).append(row)
    return Group(*(line for row in rows for line in _story(row, below.get(row["id"], ()))))


def _story(row: Mapping[str, Any], below: Iterable[Mapping[str, Any]]) -> Iterator[Text]:
    tool, running, callers, params, pid, call_id = _cells(row)
    head = Text(no_wrap=True, overflow="ellipsis")
    head.append_text(tool if isinstance(tool, Text) else Text(tool))
    head.append(f"  {running}  pid {pid}  {call_id}")
    yield head
    if row["chain"]:
        yield _indented(f"called by {callers}")
    if row["params"] is not None:
        yield _indented(f"with {params}")
    if row["stack"] is None:
        yield Text(f"    no stack: {printable(row['stack_problem'])}", "yellow")
    stack = row["stack"] or ()
    for child in below:
        inner = child["stack"]
        if stack[: len(inner)] == inner:
            stack = stack[len(inner) :]
            yield _indented(f"in {printable(child['tool'], _LONGEST_NAME)}  {child['id']}", "bold")
    for frame in stack:
        place = f"{printable(frame['file'], 200)}:{frame['line']}"
        yield _indented(f"in {printable(frame['function'], _LONGEST_NAME)}  {place}")
        for name, text in frame.get("locals") or ():
            yield _indented(f"    {printable(name, 40)} = {printable(text, 200)}", "dim")


def _indented(text: str | Text, style: str = "") -> Text:
    return Text(f"    {text}", style, no_wrap=True, overflow="ellipsis")
