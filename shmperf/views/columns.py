"""
Rows that fit where they are shown: what matters least is left out, and nothing is broken.

A column with a *least* width may be cut to it, with an ellipsis; the others are shown whole or not
at all. A row is one line, whatever the width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
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
        if len(self._rows) <= _MOST_ROWS:
            yield self._table(widths, self._rows)
            return
        # Rich takes a millisecond a row: it makes the head and the foot.
        frame = console.render_lines(self._table(widths, self._rows[:1]), options, pad=False)
        for line in (*frame[:-2], *self._lines(console, widths), frame[-1]):
            yield from line
            yield Segment.line()

    def _table(self, widths: Mapping[int, int], rows: Iterable[Sequence[str | Text]]) -> Table:
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
        for row in rows:
            table.add_row(*(_as_text(row[place]) for place in widths))
        return table

    def _lines(self, console: Console, widths: Mapping[int, int]) -> Iterator[list[Segment]]:
        """Each row as rich would put it."""
        columns = [(place, width, self._columns[place].is_text) for place, width in widths.items()]
        for row in self._rows:
            line, plain = [], " "
            for place, width, is_left in columns:
                cell = row[place]
                text = _fitted(cell if isinstance(cell, str) else cell.plain, width, is_left)
                if isinstance(cell, str) or not cell.style:
                    plain += text
                else:
                    line += [Segment(plain), Segment(text, console.get_style(cell.style))]
                    plain = ""
                plain += " " * _BETWEEN
            yield [*line, Segment(plain[: 1 - _BETWEEN])]

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
    text = cell if isinstance(cell, str) else cell.plain
    return len(text) if text.isascii() else cell_len(text)


def _as_text(cell: str | Text) -> Text:
    """No markup, whatever a tool is called."""
    return cell if isinstance(cell, Text) else Text(cell)


def _fitted(text: str, width: int, is_left: bool) -> str:
    """*text* in that width, cut or filled up on the other side."""
    missing = width - _width(text)
    if missing < 0:
        text = f"{set_cell_size(text, width - 1)}…"
    elif missing:
        text = f"{text}{' ' * missing}" if is_left else f"{' ' * missing}{text}"
    return text


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
