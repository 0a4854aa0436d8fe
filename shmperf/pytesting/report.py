"""
One run of tests: its session, what it took, and what is said of it in the end.

The session is a run's own, founded by the process that pytest was started as; workers of xdist and
child processes find it in their environment. A run inside a session that is there already records
in that one and speaks of what came since it began. Nothing that goes wrong here fails a run.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from shmperf.analysis.stats import Figures, all_stats, plain, since
from shmperf.errors import ShmperfError
from shmperf.files import reason_of
from shmperf.session.client import Client
from shmperf.session.messages import FiguresOf
from shmperf.session.paths import named_directory, runtime_root
from shmperf.session.rendezvous import Request, found_named
from shmperf.session.session import Session, attach
from shmperf.stdlib import Path, os, secrets, time
from shmperf.views.formatting import duration, printable, size
from shmperf.worker.process import worker

from .budgets import Budget, broken, unmatched
from .phases import PHASES

if TYPE_CHECKING:
    # Who compares nothing does not pay for it.
    from .past import Past

__all__ = ["Report"]

_KEPT_RUNS = 3
_SETTLE_S = 5.0
_ANSWER_S = 10.0
_TOOLS, _TESTS = 10, 5
_LONGEST = 60


class Report:
    """What a run's controller, or its only process, keeps of it."""

    def __init__(
        self, config: pytest.Config, budgets: Sequence[Budget], past: Past | None = None
    ) -> None:
        self._config = config
        self._budgets = budgets
        self._past = past
        self._session: Session | None = None
        self._is_ours = False
        self._base: Figures | None = None
        self._problem = ""
        self._tests: dict[str, dict[str, Any]] = {}
        self._stats: dict[str, Any] | None = None
        self._broken: list[str] = []
        self._worse: list[str] = []
        self._page_bytes = 0

    # --- the session ---------------------------------------------------------------------------

    def begin(self) -> None:
        """Join the session that is there, or found one."""
        try:
            self._session = self._here()
            if self._session is None:
                self._session = self._founded()
            elif self._session.storage.is_dir():
                self._base = self._figures(self._session)
        except (ShmperfError, OSError) as error:
            self._problem = str(error)

    def leave(self) -> None:
        """Send nobody there any more; the session ends with its last process."""
        if self._is_ours:
            os.environ.pop("SHMPERF_SESSION", None)

    def _here(self) -> Session | None:
        name = os.environ.get("SHMPERF_SESSION")
        if name:
            return attach(named_directory(runtime_root(os.environ), name))
        # With calls that a conftest.py has made this process has a session already.
        return worker.session

    def _founded(self) -> Session:
        name = f"pytest-{os.getpid()}-{secrets.token_hex(3)}"
        storage = self._config.option.shmperf_storage or self._new_storage(name)
        request = Request(
            str(Path.cwd()), dict(os.environ), name, storage=str(storage), is_transient=True
        )
        session = found_named(runtime_root(os.environ), request)
        if session.storage.is_dir():
            # Most runs get a new directory, and the reader of storage costs more than all the rest.
            from shmperf.storage.state import figures_on_disk  # noqa: PLC0415  as said

            self._base = figures_on_disk(session.storage, None, session.options)
        self._is_ours = True
        os.environ["SHMPERF_SESSION"] = name
        # As long as this process is in it, it lasts: there may be no worker yet, or just now.
        worker.start()
        return session

    def _new_storage(self, name: str) -> Path:
        """A place in pytest's cache, which keeps those of the last runs."""
        # None with ``-p no:cacheprovider``.
        cache = getattr(self._config, "cache", None)
        if cache is None:
            return Path("perf_data")
        runs: Path = cache.mkdir("shmperf")
        known = sorted(runs.iterdir(), key=lambda path: path.stat().st_mtime)
        for path in known[: -(_KEPT_RUNS - 1)]:
            shutil.rmtree(path, ignore_errors=True)
        return runs / name

    @staticmethod
    def _figures(session: Session) -> Figures:
        if session.has_collector() and not session.is_foreign:
            try:
                answer = Client(session.directory).ask(FiguresOf(), _ANSWER_S)
                return msgspec.convert(answer, Figures)
            except (ShmperfError, msgspec.ValidationError):
                # Whoever reads the storage finds out what there is, or says what is wrong.
                pass
        from shmperf.query.answers import Answers  # noqa: PLC0415  as in `_founded`

        return Answers(session.storage, session.options, session).figures()

    def _settled(self, session: Session) -> Figures:
        """This run's figures, once no call of a process that has gone is open any more."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            ours = since(self._base, self._figures(session))
            ended = sum(one.count + one.aborted for one in ours.totals.values())
            if ours.books.begun <= ended + ours.books.lost or time.monotonic() > deadline:
                return ours
            time.sleep(0.01)

    # --- the run -------------------------------------------------------------------------------

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test is over, in this process or in a worker."""
        test = self._tests.setdefault(
            report.nodeid,
            {
                "nodeid": report.nodeid,
                "outcome": "passed",
                "setup_s": 0.0,
                "call_s": 0.0,
                "teardown_s": 0.0,
                "worker": getattr(report, "worker_id", None),
            },
        )
        if type(report) is not pytest.TestReport:
            # A part of a test, such as a subtest, whose time is in the test's own.
            if report.failed:
                test["outcome"] = "failed"
            return
        if report.when in PHASES:
            # Those that are run again add up.
            test[f"{report.when}_s"] += report.duration
        outcome = _outcome(report)
        if outcome != "passed" or report.when == "call":
            test["outcome"] = outcome

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Workers have gone: take the figures, write them, judge by them."""
        if self._session is None:
            return
        try:
            found = self._settled(self._session)
            limit_of = self._session.options.limit_of
            self._stats = plain(all_stats(found.totals, found.sizes, limit_of, found.books))
        except (ShmperfError, OSError) as error:
            self._problem = str(error)
            return
        self._broken = broken(self._budgets, self._stats["tool_stats"])
        if self._past is not None:
            self._worse = self._past.compare(found.totals)
        if (self._broken or self._worse) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        self._write()
        self._write_page(self._session)

    def _write_page(self, session: Session) -> None:
        """What the session has recorded, as a page; that of earlier runs in its storage, too."""
        path = self._config.option.shmperf_report
        if not path:
            return
        # Who asks for none waits for none.
        from shmperf.query.answers import Answers  # noqa: PLC0415  as said
        from shmperf.views.report import write_report  # noqa: PLC0415  as said

        answers = Answers(session.storage, session.options, session)
        against = None if self._past is None else self._past.found()
        try:
            self._page_bytes = write_report(answers, Path(path), against)
        except (ShmperfError, OSError) as error:
            self._problem = str(error)

    def _write(self) -> None:
        path = self._config.option.shmperf_json
        if not path:
            return
        text = json.dumps(
            {**(self._stats or {}), "tests": list(self._tests.values()), "broken": self._broken}
            | {"worse": self._worse},
            indent=2,
        )
        try:
            Path(path).write_text(text + "\n")
        except OSError as error:
            self._problem = f"{path}: {reason_of(error)}"

    # --- the summary ---------------------------------------------------------------------------

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Slowest tools and tests, the books, budgets."""
        write = terminalreporter.write_line
        terminalreporter.section("shmperf")
        if self._problem:
            write(f"shmperf: {printable(self._problem)}", yellow=True)
        if self._stats is None:
            return
        rows = self._stats["tool_stats"]
        tools = [row for tool, row in rows.items() if tool not in PHASES.values()]
        tools.sort(key=lambda row: (row["avg_duration_s"] or 0) * row["count"], reverse=True)
        if tools:
            for line in _columns(("tool", *_HEADS), [_tool(row) for row in tools[:_TOOLS]]):
                write(line)
            if len(tools) > _TOOLS:
                write(f"… and {len(tools) - _TOOLS:,} tools more")
            write("")
        tests = sorted(self._tests.values(), key=_seconds, reverse=True)[:_TESTS]
        if tests:
            lines = [(_cut(test["nodeid"]), duration(_seconds(test))) for test in tests]
            for line in _columns(("slowest tests", "in all"), lines):
                write(line)
            write("")
        write(self._books())
        self._tell_places(write)
        for line in self._broken:
            write(f"over budget: {printable(line)}", red=True)
        for line in unmatched(self._budgets, rows):
            write(f"never called: {printable(line)}", yellow=True)
        if self._past is not None:
            self._compare(self._past, write)

    def _tell_places(self, write: Callable[..., None]) -> None:
        if self._is_ours and self._session is not None:
            write(f"history: shmperf stats --storage {printable(self._session.storage)}")
        if self._page_bytes:
            page = printable(self._config.option.shmperf_report)
            write(f"page: {page} ({size(self._page_bytes)})")

    def _compare(self, past: Past, write: Callable[..., None]) -> None:
        for line in past.lines():
            write(printable(line))
        for line in self._worse:
            write(f"worse: {printable(line)}", red=True)
        for line in past.unmatched():
            write(f"not called in both runs: {printable(line)}", yellow=True)

    def _books(self) -> str:
        found = self._stats or {}
        lost = sum(found["lost"].values())
        errors = sum(
            row["errors"]
            for tool, row in found["tool_stats"].items()
            if tool not in PHASES.values()
        )
        text = f"{found['total_calls']:,} calls · {errors:,} errors · {lost:,} lost"
        text += f" · {found['aborted']:,} aborted"
        return text if found["complete"] else f"{text} · not complete: no collector answered"


_HEADS = ("calls", "avg", "p95", "max", "errors", "aborted")


def _tool(row: dict[str, Any]) -> tuple[str, ...]:
    times = (duration(row[key]) for key in ("avg_duration_s", "p95_s", "max_duration_s"))
    return (
        _cut(row["tool"]),
        f"{row['count']:,}",
        *times,
        f"{row['errors']:,}",
        f"{row['aborted']:,}",
    )


def _cut(name: object) -> str:
    return printable(name, _LONGEST)


def _columns(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if number else text.ljust(width)
            for number, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in (heads, *rows)
    ]


def _seconds(test: dict[str, Any]) -> float:
    return float(test["setup_s"] + test["call_s"] + test["teardown_s"])


def _outcome(report: pytest.TestReport) -> str:
    if report.when not in PHASES:
        # What xdist says of a test in which its worker died.
        return "crashed"
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    if report.failed and report.when != "call":
        return "error"
    return str(report.outcome)
