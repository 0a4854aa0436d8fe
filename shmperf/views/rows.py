"""What a query found, in columns that fit: whatever the columns are called and hold."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from .columns import Column, Columns
from .formatting import printable

__all__ = ["found_rows"]

_LONGEST_TITLE, _LONGEST_CELL = 40, 200
_LEAST = 12


def found_rows(
    titles: Sequence[str], rows: Sequence[Sequence[object]], more: int
) -> RenderableType:
    """A table of *rows*, the last columns left out where there is no room, and how many follow."""
    if not rows:
        return Text("no rows", style="dim")
    numbers = [
        all(isinstance(row[place], int | float | None) for row in rows)
        for place in range(len(titles))
    ]
    columns = [
        Column(printable(title, _LONGEST_TITLE), rank=place, least=_LEAST, is_text=not is_number)
        for place, (title, is_number) in enumerate(zip(titles, numbers, strict=True))
    ]
    table = Columns(columns, [[_cell(value) for value in row] for row in rows])
    if not more:
        return table
    return Group(table, Text(f"{more:,} more rows; --json prints all", style="dim"))


def _cell(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.6g}"
    return printable(value, _LONGEST_CELL)
