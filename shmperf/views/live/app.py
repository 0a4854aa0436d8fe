"""The live terminal: looks as they come, screens above each other, what changes a session."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import ClassVar

from rich.text import Text
from textual.app import App
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches

from shmperf.errors import ShmperfError
from shmperf.query.answers import Answers
from shmperf.query.look import Look, Watch
from shmperf.views.formatting import duration, printable
from shmperf.views.runs import RunReport

from .deeds import Done, optimize, switch
from .first import FirstScreen
from .head import head
from .looking import Looking
from .screens import ChangesScreen, ConfirmScreen, HelpScreen, TextScreen, WorkerScreen

__all__ = ["Top"]

# An answer that takes longer than this is waited for, and said so.
_SLOW_S = 2.0


class Top(App[None]):
    """Shows one look after another."""

    TITLE = "shmperf top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #head { height: auto; max-height: 6; padding: 0 1; background: $panel; }
    #title { height: 1; padding: 0 1; background: $panel; text-style: bold; }
    .pane { height: 1fr; padding: 0 1; }
    .caption { height: 1; padding: 0 1; color: $accent; text-style: bold; }
    #tools-pane { height: 2fr; }
    #found { padding: 0 1; height: auto; }
    #around { padding: 1 1; height: auto; }
    #body { height: 1fr; }
    #filter { height: 1; border: none; padding: 0 1; }
    ConfirmScreen, HelpScreen { align: center middle; }
    #dialog { width: 72; max-width: 95%; height: auto; max-height: 95%; padding: 1 2;
        border: round $primary; background: $surface; }
    #dialog Static { width: 100%; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "pause", "pause"),
        Binding("d", "changes", "changes"),
        Binding("m", "mode", "mode"),
        Binding("o", "optimize", "optimize"),
        Binding("f5", "look", "look now", show=False),
        Binding("question_mark", "help", "help", key_display="?"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, find: Callable[[], Answers], watch: Watch, interval_s: float = 1.0) -> None:
        # Without colours there are none, in place of greys that nobody can read.
        super().__init__(ansi_color=True if "NO_COLOR" in os.environ else None)
        self._find = find
        self._looking = Looking(watch, interval_s, self._hear)
        self._first = FirstScreen(find, watch.rates)
        self._look: Look | None = None
        self._is_paused = False
        self._said = ""

    def get_default_screen(self) -> FirstScreen:
        """The first screen."""
        return self._first

    def on_mount(self) -> None:
        """Begin to look."""
        self._looking.start()
        self.set_interval(0.5, self._tell_of_waiting)

    def on_unmount(self) -> None:
        """No more looks."""
        self._looking.end()

    def _hear(self, look: Look) -> None:
        """In the thread that looks."""
        self._on_screen(lambda: self._see(look))

    def _on_screen(self, show: Callable[[], object]) -> None:
        """From another thread, while there is a screen."""
        # What ends meanwhile cancels the question, or has taken its panes away.
        with suppress(RuntimeError, CancelledError, NoMatches):
            self.call_from_thread(show)

    def _see(self, look: Look) -> None:
        if self._is_paused and self._look is not None:
            return
        self._look = look
        self._first.see(look)
        self._say()
        for screen in self.screen_stack:
            if isinstance(screen, WorkerScreen) and screen.is_attached:
                screen.see(look)

    def _say(self) -> None:
        """What stands above the panes."""
        if self._look is not None:
            self._first.say(head(self._look, self._said, is_paused=self._is_paused))

    def _tell_of_waiting(self) -> None:
        waits_s = self._looking.waits_s
        if waits_s > _SLOW_S and not self._is_paused:
            said = f"waiting for an answer for {duration(round(waits_s, 1))}"
            self._first.say(Text(said, "yellow"))

    def action_pause(self) -> None:
        """Stand still, or go on."""
        self._is_paused = not self._is_paused
        self._say()
        if not self._is_paused:
            self._looking.look_now()

    def action_look(self) -> None:
        """Now."""
        self._looking.look_now()

    def action_changes(self) -> None:
        """What changed."""
        self.push_screen(ChangesScreen(self._find))

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(HelpScreen())

    # --- what changes the session ----------------------------------------------------------------

    def action_mode(self) -> None:
        """The other mode, if that is wanted."""
        if self._look is not None:
            wanted = "normal" if self._look.mode == "optimization" else "optimization"
            question = f"switch the session to {wanted} mode?"
            self._confirm(question, lambda: switch(self._find(), wanted))

    def action_optimize(self) -> None:
        """A run in detail, if that is wanted; its report."""
        question = "record in detail for a while, write a report, and forget what was recorded?"
        self._confirm(question, lambda: optimize(self._find, self._tell, lambda: self.is_running))

    def _confirm(self, question: str, deed: Callable[[], Done]) -> None:
        def answered(is_yes: bool | None) -> None:
            if is_yes:
                # Not a thread of Textual's: a quit would wait for those.
                threading.Thread(target=self._do, args=(deed,), daemon=True).start()

        self.push_screen(ConfirmScreen(question), answered)

    def _do(self, deed: Callable[[], Done]) -> None:
        """In another thread."""
        try:
            done = deed()
        except ShmperfError as error:
            done = Done(str(error))
        self._tell(done.said)
        if done.report is not None:
            screen = TextScreen(done.said, RunReport(done.report))
            self._on_screen(lambda: self.push_screen(screen))
        self._looking.look_now()

    def _tell(self, text: str) -> None:
        self._said = printable(text, 300)
        self._on_screen(self._say)
