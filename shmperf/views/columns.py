"""
Rows that fit where they are shown: what matters least is left out, and nothing is broken.

A column with a *least* width may be cut to it, with an ellipsis; the others are shown whole or not
at all. A row is one line, whatever the width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

__all__ = ["Column", "Columns", "Line"]

# What rich puts between two columns, and at both ends.
_BETWEEN, _ENDS = 3, 2
_MOST_ROWS = 1_000


class Column(NamedTuple):
    """A title; how early it is left out, 0 never; the least width of a text that may be cut."""

    title: str
    rank: int = 0
    least: int = 0
    is_text: bool = False


class Columns:
    """A table of as many columns as there is room for."""

    def __init__(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Text]]) -> None:
        self._columns = columns
        self._rows = list(rows)
        cells = zip(*self._rows, strict=True) if self._rows else [()] * len(columns)
        self._widths = [
            max(cell_len(column.title), *map(_width, inside), 0)
            for column, inside in zip(columns, cells, strict=True)
        ]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As wide as there is room."""
        widths = self._fitting(options.max_width)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for place, width in widths.items():
            column = self._columns[place]
            table.add_column(
                column.title,
                justify="left" if column.is_text else "right",
                width=width,
                no_wrap=True,
                overflow="ellipsis",
            )
        for row in _tall([[row[place] for place in widths] for row in self._rows]):
            table.add_row(*row)
        yield table

    def _fitting(self, room: int) -> dict[int, int]:
        """The width of each column that is shown, by its place."""
        shown = dict(enumerate(map(self._least, range(len(self._columns)))))
        while len(shown) > 1 and _total(shown) > room:
            least_wanted = max(shown, key=lambda place: (self._columns[place].rank, place))
            if self._columns[least_wanted].rank == 0:
                break
            del shown[least_wanted]
        spare = room - _total(shown)
        for place in sorted(shown, key=lambda place: self._columns[place].rank):
            wanted = self._widths[place] - shown[place]
            given = min(spare, wanted) if spare >= 0 else max(spare, 1 - shown[place])
            shown[place] += given
            spare -= given
        return shown

    def _least(self, place: int) -> int:
        column, width = self._columns[place], self._widths[place]
        return min(width, max(column.least, cell_len(column.title))) if column.least else width


def _total(shown: dict[int, int]) -> int:
    return sum(shown.values()) + _BETWEEN * (len(shown) - 1) + _ENDS


def _width(cell: str | Text) -> int:
    return cell_len(cell) if isinstance(cell, str) else cell.cell_len


def _tall(rows: list[list[str | Text]]) -> list[list[str | Text]]:
    """
    *rows*, or one row of tall cells that looks the same.

    Rich takes a millisecond a row, and a fifth of that a line.
    """
    if len(rows) <= _MOST_ROWS:
        return rows
    lines = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    return [[Text("\n").join(column) for column in zip(*lines, strict=True)]]


class Line:
    """Parts with dots between them, on as many lines as they need; only a part too long is cut."""

    def __init__(self, parts: Iterable[Text]) -> None:
        self.parts = list(parts)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lines broken between parts."""
        line = Text()
        for part in self.parts:
            if line and line.cell_len + 3 + part.cell_len > options.max_width:
                yield line
                line = Text()
            if line:
                line.append(" · ")
            line.append_text(part)
        yield line
