"""The first screen: calls in flight, tools, workers, and above them what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.events import Key
from textual.screen import Screen
from textual.widgets import Footer, Input, Static

from shmperf.query.answers import Answers
from shmperf.query.look import Look, WorkerLook
from shmperf.session.messages import OpenCallAnswer
from shmperf.views.formatting import printable

from .panes import open_fields, tool_fields, worker_fields
from .rowlist import RowList
from .screens import CallScreen, ToolScreen, WorkerScreen

__all__ = ["FirstScreen"]

# Tools are sorted by their own time at first: what is slow stands on top.
_BY_OWN_TIME = 8


class FirstScreen(Screen[None]):
    """Three panes over the last look; what they hold is filtered, sorted, and looked into."""

    BINDINGS: ClassVar[list[BindingType]] = [
        # With priority: done before the next key is given out, so that what is typed quickly behind
        # these two goes where they lead, and is no command ("slow_part" has an o in it).
        Binding("slash", "filter", "filter", key_display="/", priority=True),
        Binding("enter", "filtered", show=False, priority=True),
        Binding("less_than_sign", "sort(-1)", "sort", key_display="<", show=False),
        Binding("greater_than_sign,s,f6", "sort(1)", "sort", key_display="< >"),
        Binding("r", "reverse", "reverse", show=False),
    ]

    def __init__(self, find: Callable[[], Answers], rates: Callable[[str], list[float]]) -> None:
        super().__init__()
        self._find = find
        self._rates = rates
        self._look: Look | None = None
        self._opened: dict[str, OpenCallAnswer] = {}
        self._said = Text()

    def compose(self) -> ComposeResult:
        """What is wrong and how much goes on, above; three panes; the keys."""
        yield Static(Text("asking …", "dim"), id="head", markup=False)
        with Vertical(classes="pane", id="calls-pane"):
            yield Static("in flight", classes="caption", id="calls-caption", markup=False)
            yield RowList(open_fields(), _id_of, empty="no call is open", id="calls")
        with Vertical(classes="pane", id="tools-pane"):
            yield Static("tools", classes="caption", id="tools-caption", markup=False)
            yield RowList(tool_fields(self._rates), _tool_of, empty="no calls yet", id="tools")
        with Vertical(classes="pane", id="workers-pane"):
            yield Static("workers", classes="caption", id="workers-caption", markup=False)
            fields = worker_fields(self._opened)
            yield RowList(fields, _pid_of, empty="no worker is here now", id="workers")
        yield Input(placeholder="part of a name", id="filter")
        yield Footer()

    def on_mount(self) -> None:
        """Tools first."""
        self.query_one("#filter", Input).display = False
        tools = self.query_one("#tools", RowList)
        tools.sort_by(_BY_OWN_TIME)
        tools.focus()

    def say(self, text: Text) -> None:
        """This stands above the panes."""
        if text != self._said:
            # Its height goes by its lines, so that a change lays out all that is below.
            self._said = text
            self.query_one("#head", Static).update(text)

    def see(self, look: Look) -> None:
        """This is to be seen now."""
        self._look = look
        self._opened.clear()
        self._opened.update((call.id, call) for call in look.open)
        self._show()

    def _show(self) -> None:
        look, sought = self._look, self.query_one("#filter", Input).value
        if look is None:
            return
        tools = [tool for tool in look.tools if _is_named(sought, tool.tool)]
        calls = [call for call in look.open if _is_named(sought, call.tool, *call.chain)]
        self.query_one("#tools", RowList).show(tools)
        self.query_one("#calls", RowList).show(calls)
        workers = [worker for worker in look.workers if self._is_meant(sought, worker)]
        self.query_one("#workers", RowList).show(workers)
        among = f" with “{printable(sought, 40)}”" if sought else ""
        self.query_one("#calls-caption", Static).update(f"in flight {look.in_flight:,}{among}")
        self.query_one("#tools-caption", Static).update(f"tools {len(tools):,}{among}")
        self.query_one("#workers-caption", Static).update(f"workers {len(workers):,}{among}")

    def _is_meant(self, sought: str, worker: WorkerLook) -> bool:
        """By its number or name, or by what it does now."""
        call = self._opened.get(worker.doing or "")
        return _is_named(
            sought, worker.name or str(worker.pid), *([call.tool, *call.chain] if call else ())
        )

    # --- keys ------------------------------------------------------------------------------------

    def action_filter(self) -> None:
        """Type a part of a name."""
        found = self.query_one("#filter", Input)
        found.display = True
        # At once: the keys that are typed behind it are for it.
        self.set_focus(found)

    def on_input_changed(self) -> None:
        """As one types."""
        self._show()

    def check_action(
        self,
        action: str,
        parameters: tuple[object, ...],  # noqa: ARG002  Textual gives it
    ) -> bool | None:
        """What is typed into the filter is text, but for the key that ends it."""
        is_typing = isinstance(self.focused, Input)
        return {"filter": not is_typing, "filtered": is_typing}.get(action, True)

    def action_filtered(self) -> None:
        """Back to the rows."""
        self.set_focus(self.query_one("#tools", RowList))

    def on_key(self, event: Key) -> None:
        """Escape shows all again."""
        if event.key == "escape":
            found = self.query_one("#filter", Input)
            found.value = ""
            found.display = False
            self.set_focus(self.query_one("#tools", RowList))

    def action_sort(self, by: int) -> None:
        """By the next column of the pane, or the one before."""
        rows = self._pane()
        if rows is None:
            return
        places = [n for n, field in enumerate(rows.fields) if field.key is not None]
        at = places.index(rows.sorted_by) if rows.sorted_by in places else -1
        rows.sort_by(places[(at + by) % len(places)])

    def action_reverse(self) -> None:
        """The other way round."""
        if (rows := self._pane()) is not None:
            rows.sort_by(rows.sorted_by, is_reversed=not rows.is_reversed)

    def on_row_list_sorted(self, event: RowList.Sorted) -> None:
        """By a title that was clicked; once more, the other way round."""
        rows = event.source
        if rows.fields[event.place].key is not None:
            is_again = rows.sorted_by == event.place
            rows.sort_by(event.place, is_reversed=is_again and not rows.is_reversed)

    def _pane(self) -> RowList[Any] | None:
        focused = self.focused
        return focused if isinstance(focused, RowList) else None

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """Look into it."""
        name = event.source.id
        if name == "tools":
            self.app.push_screen(ToolScreen(event.row.tool, self._find))
        elif name == "calls":
            self.app.push_screen(CallScreen(event.row.id, self._find))
        elif name == "workers":
            self.app.push_screen(WorkerScreen(event.row.pid, self._find, self._look))


def _is_named(sought: str, *names: str) -> bool:
    return not sought or any(sought.lower() in name.lower() for name in names)


def _id_of(call: OpenCallAnswer) -> object:
    return call.id


def _tool_of(row: Any) -> object:
    return row.tool


def _pid_of(row: Any) -> object:
    return row.pid
