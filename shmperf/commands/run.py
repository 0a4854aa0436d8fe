"""
``shmperf run -- COMMAND``: a collector, the command, the last drain, a summary.

The command gets our standard input and output, signals are passed on, and its exit code is ours.
The collector is a process of its own, so nothing it does can disturb the command or this one.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from shmperf import integrations
from shmperf.errors import IntegrationError, SessionError, ShmperfError
from shmperf.files import reason_of
from shmperf.integrations.registry import ALL, refuse_unknown
from shmperf.query.answers import Answers
from shmperf.session.client import Client
from shmperf.session.messages import Flush, Mode, Stats, Status, Tree
from shmperf.session.paths import named_directory, runtime_root
from shmperf.session.session import attach
from shmperf.storage.reports import FOLDER, names, newest
from shmperf.views.formatting import printable, size
from shmperf.views.terminal import books, console_for, stats

from .advice import advice
from .arguments import add_otlp

__all__ = ["Collecting", "add_arguments", "collecting", "run"]

_PASSED_ON = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_REFRESH_S = 0.5
_STOP_WAIT_S = 60.0


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("--storage", metavar="DIR", help="where history goes")
    parser.add_argument("--config", metavar="FILE", help="configuration file")
    add_otlp(parser)
    parser.add_argument("--optimize", action="store_true", help="record everything")
    parser.add_argument(
        "--instrument",
        metavar="NAMES",
        type=_integrations,
        default=[],
        help="track what these (with commas between) call, auto: all; without a change in the code",
    )
    parser.add_argument(
        "--report", metavar="FILE", help="write a page that shows it all, as `shmperf report` does"
    )
    parser.add_argument("command", nargs="+", metavar="-- COMMAND", help="the command, after --")


def _integrations(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    try:
        refuse_unknown(name for name in names if name != ALL)
    except IntegrationError as error:
        raise ArgumentTypeError(str(error)) from None
    return names


def run(given: Namespace) -> int:
    """
    Run the command with its tool calls recorded; its exit code.

    The integrations that were named (``auto`` for all) are switched on in every Python process of
    it that reads ``PYTHONPATH``, as soon as that imports what they track.

    127 when there is no such command, 126 when it can't be run, 128 + n after signal n. Whether a
    report could be written changes nothing of that.
    """
    console = console_for(sys.stderr)
    with collecting(given.storage, given.config, given.otlp) as session:
        if given.optimize:
            session.set_mode(optimization=True)
        before = session.live_stats()["begun"]
        last = _last_report(session.storage)
        environ = session.environ | _instrumented(given.instrument)
        code = _run(given.command, environ, session, console)
        found = session.stop()
        # The command's exit code counts, whether or not anybody reads this.
        with suppress(OSError):
            _tell(session, found, last, console)
            if given.report is not None:
                console.print(_page_of(session, Path(given.report)))
            if found["begun"] == before:
                said = advice(given.command, os.environ, given.instrument, code)
                console.print(Text(said, "yellow"))
    return code


def _page_of(session: Collecting, path: Path) -> Text:
    """Write the page of the session that has ended; what is to be said of it."""
    from shmperf.views.report import write_report  # noqa: PLC0415  who asks for none waits for none

    try:
        written = write_report(session.answers, path)
    except ShmperfError as error:
        return Text(f"shmperf: {printable(error)}", "red")
    return Text(f"page: {printable(path)} ({size(written)})", "dim")


class Collecting:
    """A named session whose collector this process started."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], directory: Path) -> None:
        self.name = name
        self.directory = directory
        self._process = process
        self._session = attach(directory)
        self._last_known: dict[str, Any] = {"begun": 0, "storage_state": "ok"}
        self._answers: Answers | None = None

    @property
    def storage(self) -> Path:
        """Where its history goes."""
        return self._session.storage

    @property
    def environ(self) -> dict[str, str]:
        """The environment of programs that are to record here."""
        return {**os.environ, "SHMPERF_SESSION": self.name}

    @property
    def answers(self) -> Answers:
        """Who answers: the collector, or, once it has ended, what lies on disk."""
        return self._answers or Answers(self.storage, self._session.options, self._session)

    def set_mode(self, *, optimization: bool) -> None:
        """Switch the session's mode."""
        Client(self.directory).ask(Mode(optimization), _STOP_WAIT_S)

    def live_stats(self) -> dict[str, Any]:
        """The statistics at this moment."""
        found: dict[str, Any] = Client(self.directory).ask(Stats(None), _STOP_WAIT_S)
        return found

    def tree(self) -> list[dict[str, Any]]:
        """The graph from tool to tool at this moment."""
        found: list[dict[str, Any]] = Client(self.directory).ask(Tree(), _STOP_WAIT_S)
        return found

    def stop(self) -> dict[str, Any]:
        """Drain, write everything, end the collector; the final statistics, from disk."""
        if self._process.poll() is None:
            with suppress(ShmperfError):
                self._last_known = Client(self.directory).ask(Status(), _STOP_WAIT_S)
            self._process.terminate()
        ended_well = self._process.wait(_STOP_WAIT_S) == 0
        answers = Answers(
            self.storage, self._session.options, None if ended_well else self._session
        )
        self._answers = answers
        if not ended_well:
            # It was killed: whoever came after it, or comes now, drains what it left and goes.
            with suppress(ShmperfError):
                answers.ask(Flush(), _STOP_WAIT_S)
        return answers.stats()

    def unwritten(self, found: Mapping[str, Any]) -> str:
        """What the final statistics *found* lack of what the collector knew; empty for nothing."""
        known, state = self._last_known["begun"], self._last_known["storage_state"]
        if found["begun"] >= known or (self._answers and self._answers.has_told_missing):
            return ""
        reason = "" if state == "ok" else f" ({printable(state, 200)})"
        return (
            f"storage could not be written{reason}: the figures above are the last that were; "
            f"of {known:,} calls begun {known - found['begun']:,} are missing"
        )


@contextmanager
def collecting(storage: str | None, config: str | None, otlp: str = "") -> Iterator[Collecting]:
    """
    Start a collector for a session of our own, that sends to the endpoint *otlp*, if there is one.

    Raises SessionError when it does not come up.
    """
    name = f"run-{os.getpid()}-{secrets.token_hex(3)}"
    read_fd, write_fd = os.pipe()
    command = [sys.executable, "-m", "shmperf", "collect", "--session", name]
    command += ["--transient", "--ready-fd", str(write_fd)]
    command += ["--storage", storage] if storage else []
    command += ["--config", config] if config else []
    command += ["--otlp", otlp] if otlp else []
    process = subprocess.Popen(  # noqa: S603  our own interpreter and flags
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[write_fd],
        start_new_session=True,
    )
    os.close(write_fd)
    try:
        with os.fdopen(read_fd, "rb") as ready:
            came_up = ready.read(1)
        if not came_up:
            _, text = process.communicate(timeout=_STOP_WAIT_S)
            reason = text.decode(errors="replace").strip().splitlines()
            raise SessionError(reason[-1].removeprefix("shmperf: ") if reason else "no collector")
        yield Collecting(name, process, named_directory(runtime_root(os.environ), name))
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(_STOP_WAIT_S)
        if process.stderr is not None:
            process.stderr.close()


def _tell(session: Collecting, found: dict[str, Any], last: str, console: Console) -> None:
    """What was recorded, and where it is; *last* is the report of a run that there was before."""
    console.print(stats(found))
    console.print(Text(f"history: {session.storage}", "dim"))
    if missing := session.unwritten(found):
        console.print(Text(missing, "red"))
    _tell_of_report(session.storage, last, console)


def _last_report(storage: Path) -> str:
    known = names(storage)
    return known[-1] if known else ""


def _tell_of_report(storage: Path, last: str, console: Console) -> None:
    """Name the report that a run has left since *last*, and the first thing that it advises."""
    found = newest(storage) if _last_report(storage) != last else None
    if found is None:
        return
    name, report = found
    console.print(Text(f"report: {storage / FOLDER / name}.md", "dim"))
    for first in report.advice[:1]:
        console.print(Text(printable(first.text), "yellow"))


def _instrumented(names: Sequence[str]) -> dict[str, str]:
    if not names:
        return {}
    startup = str(Path(integrations.__file__).parent / "startup")
    there = os.environ.get("PYTHONPATH")
    return {
        "SHMPERF_INSTRUMENT": ",".join(names),
        "PYTHONPATH": f"{startup}{os.pathsep}{there}" if there else startup,
    }


def _run(
    command: Sequence[str], environ: Mapping[str, str], session: Collecting, console: Console
) -> int:
    try:
        process = subprocess.Popen(command, env=environ)  # noqa: S603  what the user typed
    except FileNotFoundError:
        console.print(Text(f"shmperf: {command[0]}: command not found", "red"))
        return 127
    except OSError as error:
        console.print(Text(f"shmperf: {command[0]}: {reason_of(error)}", "red"))
        return 126
    with _signals_to(process):
        code = _wait(process, session, console)
    return 128 - code if code < 0 else code


def _wait(process: subprocess.Popen[bytes], session: Collecting, console: Console) -> int:
    """Wait for the command; on a terminal, show meanwhile how many calls there were."""
    if not console.is_terminal:
        return process.wait()
    with Live(Text(""), console=console, refresh_per_second=4, transient=True) as live:
        while True:
            try:
                return process.wait(_REFRESH_S)
            except subprocess.TimeoutExpired:
                live.update(_progress(session))


def _progress(session: Collecting) -> RenderableType:
    try:
        return books(session.live_stats())
    except ShmperfError as error:
        return Text(str(error), "yellow")


@contextmanager
def _signals_to(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Pass signals on to the command; a terminal sends its interrupts to both of us already."""

    def pass_on(number: int, _: FrameType | None) -> None:
        process.send_signal(number)

    interrupt = signal.SIG_IGN if sys.stdin is not None and sys.stdin.isatty() else pass_on
    previous: Mapping[signal.Signals, Any] = {
        **{number: signal.signal(number, pass_on) for number in _PASSED_ON},
        signal.SIGINT: signal.signal(signal.SIGINT, interrupt),
    }
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
