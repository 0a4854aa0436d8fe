"""What is looked into: a tool, one call, a worker; and the small screens that ask and explain."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.screen import ModalScreen, Screen
from textual.widgets import Footer, Static

from shmperf.errors import ShmperfError
from shmperf.query.answers import Answers
from shmperf.query.changed import changed
from shmperf.query.look import Look
from shmperf.query.story import story
from shmperf.session.messages import OpenCallAnswer
from shmperf.views import comparison, waterfall
from shmperf.views.formatting import printable

from .panes import kept_fields, open_fields
from .rowlist import RowList
from .story import ToolStory, tool_story

__all__ = [
    "CallScreen",
    "ChangesScreen",
    "ConfirmScreen",
    "HelpScreen",
    "TextScreen",
    "ToolScreen",
    "WorkerScreen",
]

_BACK = Binding("escape,q,backspace", "app.pop_screen", "back")


class _Asking(Screen[None]):
    """A screen over an answer that takes a while; another thread asks."""

    BINDINGS: ClassVar[list[BindingType]] = [_BACK, Binding("f5", "again", "again")]

    def __init__(self, title: str, find: Callable[[], Answers]) -> None:
        super().__init__()
        self._title = title
        self._find = find

    def compose(self) -> ComposeResult:
        """A title, what was found, the keys."""
        yield Static(Text(printable(self._title, 400)), id="title", markup=False)
        with VerticalScroll(id="body"):
            yield Static(Text("asking …", "dim"), id="found", markup=False)
            yield from self.lists()
        yield Footer()

    def lists(self) -> ComposeResult:
        """What is below the text."""
        yield from ()

    def on_mount(self) -> None:
        """Ask."""
        self.action_again()

    def action_again(self) -> None:
        """Ask once more."""
        # Not a thread of Textual's: a quit would wait for those, however late the answer is.
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        try:
            answer = self.answer(self._find())
        except ShmperfError as error:
            answer = Text(printable(error), "red")
        # Somebody may have gone back, or ended it, meanwhile.
        with suppress(RuntimeError, CancelledError, NoMatches):
            self.app.call_from_thread(self.shown, answer)

    def answer(self, answers: Answers) -> Any:
        """In another thread; each screen has its own."""
        raise NotImplementedError

    def shown(self, answer: Any) -> None:
        """Show it."""
        if self.is_attached:
            self.query_one("#found", Static).update(answer)


class CallScreen(_Asking):
    """One call's story: its callers, what lay below it, and when."""

    def __init__(self, call_id: str, find: Callable[[], Answers]) -> None:
        super().__init__(f"call {call_id}", find)
        self._call_id = call_id

    def answer(self, answers: Answers) -> RenderableType:
        """The story, as ``shmperf trace`` prints it."""
        return waterfall.call(msgspec.to_builtins(story(answers, self._call_id)))


class ChangesScreen(_Asking):
    """What got slower or faster since this run began, or against an earlier one."""

    def __init__(self, find: Callable[[], Answers]) -> None:
        super().__init__("what changed", find)

    def answer(self, answers: Answers) -> RenderableType:
        """As ``shmperf diff`` prints it."""
        found = changed(answers)
        since = "" if found.since_s is None else f" since {_time_of(found.since_s)}"
        said = Text(f"A: {printable(found.against, 200)}; B: what was recorded{since}\n", "dim")
        return Group(said, comparison.compared(msgspec.to_builtins(found)))


def _time_of(since_s: float) -> str:
    return datetime.fromtimestamp(since_s, UTC).strftime("%H:%M:%S UTC")


class ToolScreen(_Asking):
    """One tool: how long its calls take, over time too, and the calls to look into."""

    def __init__(self, tool: str, find: Callable[[], Answers]) -> None:
        super().__init__(tool, find)
        self._tool = tool

    def lists(self) -> ComposeResult:
        """What is around it, and calls to choose from."""
        yield Static(id="around", markup=False)
        yield Static(Text("slowest", "bold"), classes="caption", markup=False)
        yield RowList(kept_fields(), _id_of, empty="no call is kept", id="slowest")
        yield Static(Text("last", "bold"), classes="caption", markup=False)
        yield RowList(kept_fields(), _id_of, empty="no call is kept", id="last")

    def answer(self, answers: Answers) -> ToolStory:
        """All of it."""
        return tool_story(answers, self._tool)

    def shown(self, answer: ToolStory | Text) -> None:
        """The parts, each in its place."""
        if isinstance(answer, Text):
            super().shown(answer)
            return
        super().shown(answer.head)
        for name, rows in (("#slowest", answer.slowest), ("#last", answer.last)):
            rows_list = self.query_one(name, RowList)
            rows_list.styles.height = max(2, len(rows) + 1)
            rows_list.show(rows)
        self.query_one("#around", Static).update(answer.around)
        self.query_one("#slowest", RowList).focus()

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """A call's story."""
        event.stop()
        if event.row["id"]:
            self.app.push_screen(CallScreen(event.row["id"], self._find))


def _id_of(row: Any) -> object:
    return row["id"]


class WorkerScreen(Screen[None]):
    """What one worker does, look by look."""

    BINDINGS: ClassVar[list[BindingType]] = [_BACK]

    def __init__(self, pid: int, find: Callable[[], Answers], look: Look | None) -> None:
        super().__init__()
        self._pid = pid
        self._find = find
        self._look = look

    def compose(self) -> ComposeResult:
        """Its figures and its calls in flight."""
        yield Static(Text(f"worker {self._pid}"), id="title", markup=False)
        yield RowList(open_fields(), _id_of_open, empty="it calls no tool now", id="calls")
        yield Footer()

    def on_mount(self) -> None:
        """What was seen last."""
        if self._look is not None:
            self.see(self._look)

    def see(self, look: Look) -> None:
        """What is to be seen now."""
        found = [worker for worker in look.workers if worker.pid == self._pid]
        named = found[0].name if found else None
        said = f"worker {self._pid}" if named is None else f"node {printable(named)}"
        if not found:
            said += "  has gone"
        elif found[0].threads is not None:
            said += f"  {found[0].threads} threads"
        self.query_one("#title", Static).update(Text(said))
        calls = [call for call in look.open if call.pid == self._pid]
        self.query_one("#calls", RowList).show(calls)

    def on_row_list_opened(self, event: RowList.Opened) -> None:
        """A call's story."""
        event.stop()
        self.app.push_screen(CallScreen(event.row.id, self._find))


def _id_of_open(row: OpenCallAnswer) -> object:
    return row.id


class TextScreen(Screen[None]):
    """A text to read."""

    BINDINGS: ClassVar[list[BindingType]] = [_BACK]

    def __init__(self, title: str, text: RenderableType) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        """Its title and the text."""
        yield Static(Text(self._title), id="title", markup=False)
        with VerticalScroll(id="body"):
            yield Static(self._text, markup=False)
        yield Footer()


class ConfirmScreen(ModalScreen[bool]):
    """Asks before something is done to a running session."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y,enter", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, question: str) -> None:
        super().__init__()
        self._question = question

    def compose(self) -> ComposeResult:
        """The question, and what may be said."""
        with Vertical(id="dialog"):
            yield Static(Text(self._question), markup=False)
            yield Static(Text("y yes   n no", "dim"), markup=False)

    def action_answer(self, is_yes: bool) -> None:
        """Done."""
        self.dismiss(is_yes)


class HelpScreen(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter", "app.pop_screen", "back")
    ]
    KEYS = (
        ("tab", "to the next pane"),
        ("↑ ↓ pgup pgdn", "the rows of a pane"),
        ("enter", "look into a tool, a call, a worker"),
        ("/", "filter by name, workers also by number; esc shows all again"),
        ("< > f6", "sort by the column before, the one behind"),
        ("r", "the other way round"),
        ("space", "pause, and go on"),
        ("d", "what changed: since this run began, or against --against"),
        ("m", "switch the mode, after a question"),
        ("o", "a run in detail, and what it advises, after a question"),
        ("f5", "look now"),
        ("q", "quit"),
    )

    def compose(self) -> ComposeResult:
        """Keys, and what they do."""
        table = Table.grid(padding=(0, 3))
        for key, text in self.KEYS:
            table.add_row(Text(key, "bold"), text)
        with Vertical(id="dialog"):
            yield Static(table, markup=False)
