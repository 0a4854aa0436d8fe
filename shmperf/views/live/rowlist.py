"""
A list of rows under a title line, drawn as far as it is seen: a thousand rows cost what thirty do.

Columns that matter least are left out where there is no room; one takes what is left. The row under
the cursor stays under it while rows come, go and change places.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

__all__ = ["Field", "RowList"]

T = TypeVar("T")

_GAP = 2


class Field(NamedTuple):
    """
    A column: its title, its width in cells, and how early it is left out, 0 never.

    The one of width 0 takes what is left. *cell* makes a row's text; a row is sorted by *key*, the
    greatest first where it is *falling*. A name is cut in its middle: its end tells it from others.
    """

    title: str
    width: int
    rank: int
    cell: Callable[[Any], str | Text]
    key: Callable[[Any], Any] | None = None
    falling: bool = True
    is_text: bool = False
    is_name: bool = False


class RowList(ScrollView, Generic[T], can_focus=True):
    """Rows of one kind, of which one is chosen."""

    DEFAULT_CSS = """
    RowList { height: 1fr; scrollbar-size-vertical: 1; overflow-x: hidden; overflow-y: auto; }
    RowList > .rowlist--title { text-style: bold; color: $text-muted; }
    RowList > .rowlist--cursor { background: $boost; text-style: bold; }
    RowList:focus > .rowlist--cursor { background: $primary 40%; text-style: bold; }
    RowList > .rowlist--empty { color: $text-muted; }
    """
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "rowlist--title",
        "rowlist--cursor",
        "rowlist--empty",
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "move(-1)", "up", show=False),
        Binding("down,j", "move(1)", "down", show=False),
        Binding("pageup", "page(-1)", "page up", show=False),
        Binding("pagedown", "page(1)", "page down", show=False),
        Binding("home", "edge(0)", "first", show=False),
        Binding("end", "edge(1)", "last", show=False),
        Binding("enter", "open", "open", show=False),
    ]

    class Opened(Message):
        """A row was chosen to be looked into."""

        def __init__(self, source: RowList[Any], row: Any) -> None:
            super().__init__()
            self.source = source
            self.row = row

    class Sorted(Message):
        """A title was chosen to sort by."""

        def __init__(self, source: RowList[Any], place: int) -> None:
            super().__init__()
            self.source = source
            self.place = place

    def __init__(
        self,
        fields: Sequence[Field],
        identity: Callable[[T], object],
        *,
        empty: str,
        id: str | None = None,
    ) -> None:
        """*identity* tells a row from others, whatever it shows; *empty* stands there for none."""
        super().__init__(id=id)
        self.fields = fields
        self.rows: Sequence[T] = []
        self.sorted_by: int | None = None
        self.is_reversed = False
        self._identity = identity
        self._empty = empty
        self._cursor = 0
        self._shown: list[tuple[int, int]] = []

    # --- rows ------------------------------------------------------------------------------------

    def show(self, rows: Sequence[T]) -> None:
        """These are the rows now, in their order unless one is chosen."""
        chosen = self.chosen
        ordered = self._ordered(rows)
        if chosen is not None:
            mark = self._identity(chosen)
            places = (n for n, row in enumerate(ordered) if self._identity(row) == mark)
            self._cursor = next(places, min(self._cursor, max(0, len(ordered) - 1)))
        self.rows = ordered
        self._measure()
        self.refresh()

    @property
    def chosen(self) -> T | None:
        """The row under the cursor."""
        return self.rows[self._cursor] if 0 <= self._cursor < len(self.rows) else None

    def sort_by(self, place: int | None, *, is_reversed: bool = False) -> None:
        """Sort by the column at *place*; None leaves rows as they come."""
        self.sorted_by, self.is_reversed = place, is_reversed
        self._cursor = 0
        self.show(self.rows)
        self.scroll_to(y=0, animate=False)

    def _ordered(self, rows: Sequence[T]) -> Sequence[T]:
        if self.sorted_by is None:
            return rows
        field = self.fields[self.sorted_by]
        if field.key is None:
            return rows
        return sorted(rows, key=field.key, reverse=field.falling != self.is_reversed)

    # --- moving ----------------------------------------------------------------------------------

    def action_move(self, by: int) -> None:
        """The cursor goes up or down."""
        self._go(self._cursor + by)

    def action_page(self, by: int) -> None:
        """The same by what fits."""
        self._go(self._cursor + by * max(1, self.size.height - 2))

    def action_edge(self, is_end: int) -> None:
        """To the first or the last row."""
        self._go(len(self.rows) - 1 if is_end else 0)

    def action_open(self) -> None:
        """Look into the row under the cursor."""
        if (row := self.chosen) is not None:
            self.post_message(self.Opened(self, row))

    def _go(self, place: int) -> None:
        self._cursor = max(0, min(len(self.rows) - 1, place))
        # The title line stays where it is, so that a row is one line further down.
        self.scroll_to_region(
            Region(0, self._cursor, 1, 2), animate=False, force=True, immediate=True
        )
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Choose a row, look into the chosen one, or sort by a title."""
        if event.y == 0:
            self._sort_at(event.x)
            return
        place = event.y - 1 + int(self.scroll_offset.y)
        if place >= len(self.rows):
            return
        is_chosen = place == self._cursor
        self._go(place)
        if is_chosen or event.chain > 1:
            self.action_open()

    def _sort_at(self, x: int) -> None:
        begin = 0
        for place, width in self._shown:
            if begin <= x < begin + width + _GAP:
                self.post_message(self.Sorted(self, place))
                return
            begin += width + _GAP

    # --- drawing ---------------------------------------------------------------------------------

    def on_resize(self) -> None:
        """Other columns may fit."""
        self._measure()

    def _measure(self) -> None:
        width = self.size.width - 1
        self._shown = fitting(self.fields, width)
        self.virtual_size = Size(max(1, width), len(self.rows) + 1)

    def render_line(self, y: int) -> Strip:
        """The title line, then a row each."""
        width = self.size.width
        if y == 0:
            style = self.get_component_rich_style("rowlist--title")
            return self._line([self._title(place) for place, _ in self._shown], style, width)
        place = y - 1 + int(self.scroll_offset.y)
        if place < len(self.rows):
            is_chosen = place == self._cursor
            style = self.get_component_rich_style("rowlist--cursor") if is_chosen else Style()
            row = self.rows[place]
            return self._line([self.fields[n].cell(row) for n, _ in self._shown], style, width)
        if not self.rows and y == 1:
            style = self.get_component_rich_style("rowlist--empty")
            return Strip([Segment(self._empty, style)]).adjust_cell_length(width, self.rich_style)
        return Strip.blank(width, self.rich_style)

    def _title(self, place: int) -> str:
        title = self.fields[place].title
        if place != self.sorted_by:
            return title
        return f"{title}{'▼' if self.fields[place].falling != self.is_reversed else '▲'}"

    def _line(self, cells: Sequence[str | Text], style: Style, width: int) -> Strip:
        base = self.rich_style + style
        segments: list[Segment] = []
        for (place, room), cell in zip(self._shown, cells, strict=True):
            field = self.fields[place]
            text = fitted(cell, room, is_text=field.is_text, is_name=field.is_name)
            segments += [
                Segment(part.text, base + (part.style or Style.null()))
                for part in text.render(self.app.console)
            ]
            segments.append(Segment(" " * _GAP, base))
        return Strip(segments).adjust_cell_length(width, base)


def fitting(fields: Sequence[Field], room: int) -> list[tuple[int, int]]:
    """Places and widths of the columns that fit into *room* cells, by rank."""
    shown = list(range(len(fields)))
    while len(shown) > 1 and _needed([fields[n] for n in shown]) > room:
        shown.remove(max(shown, key=lambda n: (fields[n].rank, n)))
    left = room - sum(fields[n].width + _GAP for n in shown)
    stretched = [n for n in shown if not fields[n].width]
    each = max(1, left // max(1, len(stretched)))
    return [(n, fields[n].width or each) for n in shown]


# Names are cut in the middle where there are so many cells.
_LEAST_NAME = 8


def _without_middle(text: Text, room: int) -> Text:
    """Two thirds of that room from the start, and as much of the end as there is place for."""
    start = text.copy()
    start.truncate(room - 1 - room // 3)
    left = room - cell_len(start.plain) - 1
    count = min(left, len(text.plain))
    while cell_len(text.plain[len(text.plain) - count :]) > left:
        count -= 1
    return start.append("…").append_text(text[len(text.plain) - count :])


# A column that takes what is left is worth showing from so many cells on.
_LEAST = 14


def _needed(fields: Sequence[Field]) -> int:
    return sum((field.width or _LEAST) + _GAP for field in fields)


def fitted(cell: str | Text, room: int, *, is_text: bool, is_name: bool = False) -> Text:
    """*cell* in exactly *room* cells: cut with an ellipsis, or filled up on the side that fits."""
    text = cell.copy() if isinstance(cell, Text) else Text(cell)
    width = cell_len(text.plain)
    if width > room and is_name and room >= _LEAST_NAME:
        text = _without_middle(text, room)
        width = cell_len(text.plain)
    elif width > room:
        text.plain = set_cell_size(text.plain, max(0, room - 1)).rstrip() + "…"
        width = cell_len(text.plain)
    (text.pad_right if is_text else text.pad_left)(max(0, room - width))
    return text
