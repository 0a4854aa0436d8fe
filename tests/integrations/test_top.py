"""The live terminal in a real one: tmux shows what a person would see, and presses the keys."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support import Place, missing, outputs, wait_until

if shutil.which("tmux") is None:
    missing("tmux is not installed; see .ci/counterparts")


_SIZE = {"COLUMNS", "LINES"}


class Terminal:
    """A terminal of its own, in which one command runs."""

    def __init__(self, socket: Path, place: Place) -> None:
        self._tmux = ["tmux", "-S", str(socket), "-f", "/dev/null"]
        self._place = place

    def start(self, *command: str, size: tuple[int, int] = (120, 40), **environ: str) -> None:
        shown = [f"{key}={value}" for key, value in environ.items()]
        settings = [
            arg for key, value in self._place.environ.items() for arg in ("-e", f"{key}={value}")
        ]
        columns, lines = map(str, size)
        script = f"{' '.join(['env', *shown, *command])}; echo ended $?; stty -a; read _"
        self._run(
            "new-session", "-d", "-x", columns, "-y", lines, "-c", str(self._place.cwd), *settings,
            script,
        )  # fmt: skip

    def _run(self, *arguments: str) -> str:
        environ = {**os.environ, "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        done = subprocess.run(
            [*self._tmux, *arguments], capture_output=True, text=True, check=True, env=environ
        )
        return done.stdout

    def press(self, *keys: str) -> None:
        self._run("send-keys", *keys)

    def shown(self) -> str:
        return self._run("capture-pane", "-p")

    def terminate(self) -> None:
        """End the command, not its shell."""
        shell = psutil.Process(int(self._run("list-panes", "-F", "#{pane_pid}")))
        for child in shell.children(recursive=True):
            if "top" in child.cmdline():
                child.terminate()

    def end(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], capture_output=True, check=False)


@pytest.fixture
def terminal(place: Place, tmp_path: Path) -> Iterator[Terminal]:
    made = Terminal(tmp_path / "tmux", place)
    yield made
    made.end()


@pytest.fixture
def hanging(place: Place) -> Iterator[list[int]]:
    program = place.start_program("live/hanging")
    assert program.stdout is not None
    yield [int(pid) for pid in program.stdout.readline().split()]
    outputs(program, "\n")


def until(terminal: Terminal, seen: Callable[[], bool]) -> None:
    wait_until(seen, terminal.shown)


TOP = (sys.executable, "-m", "shmperf", "top", "--interval", "0.2")


def test_newcomer_sees_what_hangs_with_which_item_and_what_is_slow(
    terminal: Terminal, hanging: list[int]
) -> None:
    """On the first screen: the hanging worker, its tool, its item; the slow child is on top."""
    terminal.start(*TOP)
    until(
        terminal, lambda: "handle › fetch" in terminal.shown() and "slow_part" in terminal.shown()
    )
    line = next(line for line in terminal.shown().splitlines() if "handle › fetch" in line)
    assert str(hanging[1]) in line
    until(terminal, lambda: '{"item":17}' in terminal.shown())
    terminal.press("q")
    until(terminal, lambda: "ended 0" in terminal.shown())


def test_terminal_is_as_it_was_afterwards(terminal: Terminal, hanging: list[int]) -> None:
    """Whoever ends it by key or by signal gets a terminal that echoes, on its first screen."""
    terminal.start(*TOP)
    until(terminal, lambda: "slow_part" in terminal.shown())
    terminal.terminate()

    def is_told() -> bool:
        settings = terminal.shown()
        return "ended" in settings and " icanon" in settings and " echo " in settings

    until(terminal, is_told)
    assert "slow_part" not in terminal.shown()


@pytest.mark.parametrize("environ", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LC_ALL": "C"}])
def test_poor_terminals_are_served(
    terminal: Terminal, hanging: list[int], environ: dict[str, str]
) -> None:
    """Without colours, without a screen, without UTF-8, in 40 columns: it says what it can."""
    terminal.start(*TOP, size=(40, 24), **environ)
    until(terminal, lambda: "fetch" in terminal.shown() or "handle" in terminal.shown())
    assert "Traceback" not in terminal.shown()


def test_filter_and_drill_down_by_keys(terminal: Terminal, hanging: list[int]) -> None:
    """Typed into a real terminal: filter, enter, the tool's screen, back, and out."""
    terminal.start(*TOP)
    until(terminal, lambda: "slow_part" in terminal.shown())
    # In one go, as somebody types who knows the name.
    terminal.press("/", *"slow_part")
    until(terminal, lambda: "tools 1 with" in terminal.shown())
    terminal.press("Enter", "Enter")
    until(terminal, lambda: "called by" in terminal.shown())
    terminal.press("Escape")
    until(terminal, lambda: "workers" in terminal.shown())
    terminal.press("Escape")
    until(terminal, lambda: "tools 1 with" not in terminal.shown())
    terminal.press("q")
    until(terminal, lambda: "ended 0" in terminal.shown())
