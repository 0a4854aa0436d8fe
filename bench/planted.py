"""
Troubles of real programs: how long until one is told, and its end, and what is told falsely.

    program, quiet ──► its tools are learnt ──► begin ──► told ──► over ──► its end is told
                                                  └ missed, after so many intervals

Programs of `programs/troubled` call tools at a steady rate in one session with its collector, and
what is told is what stands in its `alerts.jsonl`. When a trouble is planted, and when it is taken
out, falls anywhere inside an interval. Whatever else is told meanwhile, of whatever tool, is a
false alarm, a second alert of the same trouble too.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, get_args

from shmperf.analysis.alerts import Kind
from shmperf.analysis.shownalert import ShownAlert
from shmperf.errors import ShmperfError, StoreError
from shmperf.session.client import Client
from shmperf.session.messages import Status
from shmperf.storage import alertfile

from .measure import PROGRAMS, Row, private_place, row_of

__all__ = ["LONG", "QUICK", "Plan", "Stage", "planted"]

_LOOK_S, _ASK_S, _ANSWER_S = 0.05, 1.0, 5.0
# From a program's start until it has called what it calls.
_START_S = 3.0
_KINDS: tuple[str, ...] = get_args(Kind)


class Plan(NamedTuple):
    """
    A program: its trouble as ``programs/troubled`` knows it, and the kind of alert that tells it.

    It is planted *after* so many intervals, and once its tools are learnt, where *is_learnt* says
    so; it is missed after *patience* intervals.
    """

    name: str
    trouble: str = "quiet"
    amount: float = 0.0
    kind: Kind | None = None
    tools: int = 1
    a_second: float = 20.0
    usual_ms: float = 10.0
    after: float = 0.0
    is_learnt: bool = True
    patience: float = 20.0
    target_s: float | None = None
    end_target_s: float | None = None


class Stage(NamedTuple):
    """Programs in one session, whose calls are looked at so often."""

    interval_s: float
    plans: tuple[Plan, ...]


QUICK = (
    Stage(
        1.0,
        (
            Plan("×2 at 60/s", "slower", 2.0, "latency", a_second=60.0, usual_ms=5.0),
            Plan("30 % errors at 60/s", "errors", 0.3, "errors", a_second=60.0, usual_ms=5.0),
            Plan("a stuck call", "stuck", 1.0, "stuck", a_second=30.0),
        ),
    ),
)
LONG = (
    Stage(
        30.0,
        (
            Plan(
                "×2 at 20/s",
                "slower",
                2.0,
                "latency",
                tools=3,
                patience=10.0,
                target_s=60.0,
                end_target_s=180.0,
            ),
            Plan(
                "×1.25 at 20/s",
                "slower",
                1.25,
                "latency",
                tools=3,
                patience=10.0,
                target_s=150.0,
                end_target_s=180.0,
            ),
            Plan(
                "5 % errors at 10/s",
                "errors",
                0.05,
                "errors",
                tools=3,
                a_second=10.0,
                patience=10.0,
                target_s=60.0,
                end_target_s=180.0,
            ),
            Plan("a stuck call", "stuck", 1.0, "stuck", a_second=10.0),
            Plan("quiet", tools=6, a_second=5.0, usual_ms=20.0),
        ),
    ),
    Stage(
        5.0,
        (
            Plan("a tool that falls silent", "silent", 1.0, "silence", a_second=5.0, after=45.0),
            Plan(
                "2 MiB more a second",
                "grows",
                2.0,
                "memory",
                a_second=5.0,
                is_learnt=False,
                patience=40.0,
            ),
            Plan("quiet", tools=3, a_second=15.0),
        ),
    ),
)


def planted(stages: Sequence[Stage]) -> list[Row]:
    """The rows of all *stages*, which run at the same time."""
    with ExitStack() as stack:
        sessions = [stack.enter_context(_session(stage)) for stage in stages]
        while not all(session.is_over for session in sessions):
            time.sleep(_LOOK_S)
            for session in sessions:
                session.look()
        rows = [row for session in sessions for row in session.rows()]
        return rows + _false_alarms(sessions)


def _false_alarms(sessions: Sequence[_Session]) -> list[Row]:
    hours = sum(session.tool_hours for session in sessions)
    kinds = Counter(kind for session in sessions for kind in session.false_alarms())
    return [
        Row(
            name=f"false alarms, real programs: {kind}",
            value=kinds[kind],
            unit=f"in {hours:.2g} hours of a tool",
        )
        for kind in _KINDS
    ]


@contextmanager
def _session(stage: Stage) -> Iterator[_Session]:
    """The programs of *stage* in a private place, until the end."""
    with private_place() as (cwd, environ):
        config = cwd / "config/tool_perf_limits.yaml"
        config.write_text(
            f"{config.read_text()}anomaly: {{interval_seconds: {stage.interval_s}}}\n"
            "collector: {sample_interval_seconds: 1}\n"
        )
        found = _Session(stage, cwd, environ)
        try:
            yield found
        finally:
            found.close()


class _Session:
    """One session while it runs."""

    def __init__(self, stage: Stage, cwd: Path, environ: dict[str, str]) -> None:
        self._storage = cwd / "perf_data"
        self._runtime = Path(environ["XDG_RUNTIME_DIR"])
        self._begun_s = self._asked_s = time.monotonic()
        self._learning: dict[str, float] | None = None
        self._alerts: list[ShownAlert] = []
        self._programs = [
            _Planted(plan, place, stage.interval_s, cwd, environ)
            for place, plan in enumerate(stage.plans)
        ]

    @property
    def is_over(self) -> bool:
        """Every trouble has been planted, and taken out, and all told or missed."""
        return all(program.is_over for program in self._programs)

    @property
    def tool_hours(self) -> float:
        """For how long tools were watched, in sum."""
        tools = sum(program.plan.tools for program in self._programs)
        return tools * (time.monotonic() - self._begun_s) / 3_600

    def look(self) -> None:
        """What is told by now, and what follows from it."""
        now_s = time.monotonic()
        if now_s - self._asked_s >= _ASK_S:
            self._learning, self._asked_s = self._who_learns(), now_s
        with suppress(StoreError, OSError):
            self._alerts = alertfile.read(self._storage)
        for program in self._programs:
            program.look(now_s, self._learning, self._alerts)

    def _who_learns(self) -> dict[str, float] | None:
        for directory in self._runtime.glob("shmperf/s-*"):
            with suppress(ShmperfError, OSError):
                learning: dict[str, float] = Client(directory).ask(Status(), _ANSWER_S)["learning"]
                return learning
        return None

    def false_alarms(self) -> Iterator[str]:
        """The kinds of alerts that nothing was planted for."""
        right = {alert_id for program in self._programs for alert_id in program.ids.values()}
        return (alert.kind for alert in self._alerts if alert.id not in right)

    def rows(self) -> Iterator[Row]:
        """Those of each program that had a trouble."""
        for program in self._programs:
            yield from program.rows()

    def close(self) -> None:
        """End the programs."""
        for program in self._programs:
            program.close()


class _Planted:
    """A program and its trouble."""

    def __init__(
        self, plan: Plan, place: int, interval_s: float, cwd: Path, environ: dict[str, str]
    ) -> None:
        self.plan, self._interval_s = plan, interval_s
        # Alerts that tell of it, by tool.
        self.ids: dict[str | None, str] = {}
        self._begun: dict[str | None, float] = {}
        self._ended: dict[str | None, float] = {}
        name = f"{plan.trouble}{place}"
        numbered = [f"{name}-{number}" for number in range(plan.tools)]
        # The one alert of a worker that grows is of no tool.
        self._tools: list[str | None] = [None] if plan.kind == "memory" else [*numbered]
        figures = plan.amount, plan.tools, plan.a_second, plan.usual_ms
        command = [sys.executable, str(PROGRAMS / "troubled.py"), name, plan.trouble]
        self._process = subprocess.Popen(
            [*command, *map(str, figures)], cwd=cwd, env=environ, stdin=subprocess.PIPE, text=True
        )
        self._rng = random.Random(name)  # noqa: S311  places in an interval, no secrets
        self._due_s: float | None = None
        self._least_s = time.monotonic() + _START_S + plan.after * interval_s
        # Tools of which one could see that they were being learnt.
        self._seen: set[str | None] = set()
        # When the trouble was planted, and when it was taken out.
        self._bad_s: float | None = None
        self._over_s: float | None = None
        self.is_over = plan.kind is None

    def look(
        self, now_s: float, learning: dict[str, float] | None, alerts: Sequence[ShownAlert]
    ) -> None:
        """Plant it, note what is told of it, take it out, note what is told of that."""
        if self.is_over:
            return
        if self._bad_s is None:
            if self._is_time(now_s, is_ready=self._is_ready(now_s, learning)):
                self._bad_s = self._say("begin")
            return
        self._note(now_s, alerts)
        missing_s = now_s - self._bad_s
        if self._over_s is None:
            is_told = len(self._begun) == len(self._tools) or self._is_late(missing_s)
            if self._is_time(now_s, is_ready=is_told):
                self._over_s = self._say("over")
            return
        is_told = self._ended.keys() == self._begun.keys()
        self.is_over = is_told or self._is_late(now_s - self._over_s)

    def _is_ready(self, now_s: float, learning: dict[str, float] | None) -> bool:
        if learning is None:
            return False
        # Who was never called is not learnt either.
        known = [tool for tool in self._tools if tool in learning]
        self._seen.update(known)
        if now_s < self._least_s:
            return False
        return not self.plan.is_learnt or (not known and self._seen.issuperset(self._tools))

    def _is_late(self, passed_s: float) -> bool:
        return passed_s > self.plan.patience * self._interval_s

    def _is_time(self, now_s: float, *, is_ready: bool) -> bool:
        """Once it is ready, after some part of an interval."""
        if self._due_s is None and is_ready:
            self._due_s = now_s + self._rng.random() * self._interval_s
        is_time = self._due_s is not None and now_s >= self._due_s
        if is_time:
            self._due_s = None
        return is_time

    def _note(self, now_s: float, alerts: Sequence[ShownAlert]) -> None:
        for alert in alerts:
            if alert.kind != self.plan.kind or alert.tool not in self._tools:
                continue
            if alert.tool not in self.ids and self._over_s is None and self._bad_s is not None:
                self.ids[alert.tool], self._begun[alert.tool] = alert.id, now_s - self._bad_s
            is_mine = alert.id == self.ids.get(alert.tool)
            if is_mine and alert.ended and self._over_s and alert.tool not in self._ended:
                self._ended[alert.tool] = now_s - self._over_s

    def _say(self, line: str) -> float:
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        return time.monotonic()

    def rows(self) -> Iterator[Row]:
        """How long it took, and what was missed."""
        plan = self.plan
        if plan.kind is None:
            return
        name = f"real program, {plan.name}"
        if self._begun:
            told = list(self._begun.values())
            yield row_of(f"told after, {name}", told, "s", target=plan.target_s)
        missed, all_ = len(self._tools) - len(self._begun), len(self._tools)
        yield Row(name=f"missed, {name}", value=missed, unit=f"of {all_}", target=0)
        if self._ended:
            told = list(self._ended.values())
            yield row_of(f"end told after, {name}", told, "s", target=plan.end_target_s)

    def close(self) -> None:
        """End the program."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(60.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
