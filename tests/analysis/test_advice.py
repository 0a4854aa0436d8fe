"""Advice: for each kind what is right, and what looks like it and is not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from shmperf.analysis.advice import MOST_OF_A_KIND, Advice
from shmperf.analysis.optimization import Optimization, Run, Sighting
from shmperf.analysis.reporttext import markdown
from shmperf.analysis.runreport import Report, Setting, report_of
from shmperf.analysis.totals import Totals
from shmperf.shm.record import Outcome

MS = 1_000_000
MB = 1 << 20
KEEP_ALL = -1


class Calls:
    """A run written by hand: calls follow one another, or stand where they are put."""

    def __init__(self) -> None:
        self.seen = Optimization()
        self.seen.begin(Run("manual", "s", 0.0, 0, 10**9, 60.0))
        self.now_ns = 0
        self.limits: dict[str, int] = {}
        self.every: dict[str, int] = {}
        self.usual: dict[str, Totals] = {}
        self.lost: dict[str, int] = {}
        self._last_id = 0

    def add(self, tool: str, ms: float, params: object = None, **more: Any) -> Sighting:
        """A call that begins now, or ``at_ms``; its end is the next one's beginning."""
        self._last_id += 1
        at_ms = more.pop("at_ms", None)
        text = "{}" if params is None else f'{{"n":{params!r}}}'
        more.setdefault("params_hash", f"{text}")
        fields: dict[str, Any] = {"id": self._last_id, "parent": 0, "pid": 1, "status": 0} | more
        start_ns = self.now_ns if at_ms is None else int(at_ms * MS)
        call = Sighting(
            tool=tool, start_ns=start_ns, duration_ns=int(ms * MS), params=text, **fields
        )
        if at_ms is None:
            self.now_ns = call.end_ns
        self.seen.add(call, int(call.status in (Outcome.ERROR, Outcome.TIMEOUT)))
        return call

    def below(self, tool: str, *children: Callable[[int], Sighting], own_ms: float = 1.0) -> None:
        """A call of *tool* around its *children*, one after the other."""
        self._last_id += 1
        parent = self._last_id
        start_ns = self.now_ns
        for child in children:
            child(parent)
        duration_ms = (self.now_ns - start_ns) / MS + own_ms
        self.add(tool, duration_ms, id=parent, at_ms=start_ns / MS)
        self._last_id = max(self._last_id, parent + len(children))
        self.now_ns = start_ns + int(duration_ms * MS)

    def report(self, before: tuple[str, Report] | None = None) -> Report:
        """The report of it, compared with that *before*."""
        run = self.seen.run
        assert run is not None
        self.seen.take_delta()
        run.ended_ns = self.now_ns + 1
        run.reason = "calls"
        limits = {tool: self.limits.get(tool, KEEP_ALL) for tool in self.seen.totals.known}
        usual = self.seen.totals.known | self.usual
        setting = Setting(limits=limits, every=self.every, usual=usual, lost=self.lost)
        return report_of(run, self.seen, setting, before)

    def advice(self, kind: str = "") -> list[Advice]:
        """What is advised, of one *kind* or all; each report can be read as a text."""
        report = self.report()
        text = markdown(report)
        assert "## What to do" in text
        assert all(piece.text in text for piece in report.advice)
        assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report
        return [piece for piece in report.advice if kind in ("", piece.kind)]


# --- cache ---------------------------------------------------------------------------------------


def test_repeated_calls_ask_for_a_cache() -> None:
    """What is saved is all but the first of each, and what other calls took is no part of it."""
    calls = Calls()
    for n in range(100):
        calls.add("search", 10, n % 4)
        calls.add("search", 5, 1_000 + n)
        calls.add("other", 3, n)
    (piece,) = calls.advice("cache")
    assert (piece.tool, piece.saves_s) == ("search", pytest.approx(0.960))
    assert piece.evidence["repeats"] == 96
    assert piece.evidence["distinct"] == 4
    assert piece.evidence["most_repeated"][0]["calls"] == 25
    assert "96 of 200 calls repeat 4 earlier ones" in piece.text
    assert "960 ms of 1.5 s (64 %)" in piece.text
    assert "processes" not in piece.text
    assert calls.advice()[0] == piece


def test_a_cache_in_each_process_saves_less() -> None:
    """Each has to make its first call itself, which the sentence says."""
    calls = Calls()
    for n in range(40):
        calls.add("search", 10, 1, pid=1 + n % 4)
    (piece,) = calls.advice("cache")
    assert piece.saves_s == pytest.approx(0.390)
    assert piece.evidence["saves_in_each_process_s"] == pytest.approx(0.360)
    assert "each of the 4 processes would have saved 360 ms" in piece.text


def test_equal_calls_at_the_same_time_are_no_repeats() -> None:
    """No cache has an answer that is still being made."""
    calls = Calls()
    for _ in range(40):
        calls.add("search", 10, 1, at_ms=5)
    assert calls.advice("cache") == []


@pytest.mark.parametrize(
    ("params", "more"),
    [
        (None, {}),
        (1, {"params_hash": None}),
        (1, {"status": Outcome.ERROR}),
        (1, {"status": Outcome.CANCELLED}),
    ],
)
def test_what_no_cache_could_answer(params: object, more: dict[str, Any]) -> None:
    """Calls without parameters, with ones that are not all known, and those without a result."""
    calls = Calls()
    for _ in range(100):
        calls.add("search", 10, params, **more)
    assert calls.advice("cache") == []


def test_few_or_short_repeats_are_not_worth_a_cache() -> None:
    """Nine times, or a microsecond each, or a hundredth of the whole."""
    calls = Calls()
    for _ in range(10):
        calls.add("few", 10, 1)
    for _ in range(1_000):
        calls.add("short", 0.001, 1)
    for _ in range(20):
        calls.add("little", 0.1, 1)
    calls.add("large", 10_000)
    assert calls.advice("cache") == []


def test_time_below_a_repeat_is_saved_once() -> None:
    """A tool that calls itself: what a cache saves is never more than what there was."""
    calls = Calls()

    def fib(n: int, parent: int = 0) -> Sighting:
        # Ids are drawn, and times begin, before those below.
        calls._last_id += 1
        own, start_ns = calls._last_id, calls.now_ns
        calls.now_ns += MS
        if n > 1:
            fib(n - 1, own)
            fib(n - 2, own)
        last, took_ms = calls._last_id, (calls.now_ns - start_ns) / MS
        found = calls.add("fib", took_ms, n, id=own, parent=parent, at_ms=start_ns / MS)
        calls._last_id = last
        return found

    whole_s = fib(15).duration_ns / 1e9
    (piece,) = calls.advice("cache")
    # Of fib(15) … fib(0) each would be computed once.
    assert piece.saves_s == pytest.approx(whole_s - 16 / 1e3, rel=0.01)
    assert piece.evidence["total_s"] == pytest.approx(whole_s)
    assert piece.evidence["saves_in_each_process_s"] == pytest.approx(piece.saves_s)
    for other in calls.advice():
        assert (other.saves_s or 0.0) <= whole_s


# --- flaky ---------------------------------------------------------------------------------------


def test_failing_now_and_then_is_flaky() -> None:
    """The same parameters fail and succeed; by class, with the time of the failed calls."""
    calls = Calls()
    for n in range(100):
        status = Outcome.ERROR if n % 10 == 0 else Outcome.OK
        err = "ConnectionError" if n % 10 == 0 else None
        calls.add("fetch", 10, n % 7, status=status, err=err)
    (piece,) = calls.advice("flaky")
    assert (piece.tool, piece.saves_s) == ("fetch", pytest.approx(0.1))
    assert piece.evidence["classes"] == {"ConnectionError": 10}
    assert "  " not in piece.text


@pytest.mark.parametrize("kind", ["always", "bad parameters", "unique", "mostly"])
def test_failures_that_are_no_luck(kind: str) -> None:
    """Broken tools, wrong parameters, and what never came twice."""
    calls = Calls()
    for n in range(100):
        fails = {
            "always": True,
            "bad parameters": n % 10 == 3,
            "unique": n % 10 == 3,
            "mostly": n % 3 > 0,
        }[kind]
        params = n if kind == "unique" else n % 10
        calls.add("fetch", 10, params, status=int(fails), err="ValueError" if fails else None)
    assert calls.advice("flaky") == []


# --- sequences -----------------------------------------------------------------------------------


def test_many_children_in_a_row_ask_for_one_call() -> None:
    """Saved is the least that a call costs, for each but the first of a row."""
    calls = Calls()
    for turn in range(5):
        calls.below(
            "outer",
            *(
                lambda parent, n=n: calls.add("fetch", 2 + n % 3, n, parent=parent)
                for n in range(turn * 10, turn * 10 + 10)
            ),
        )
    (piece,) = calls.advice("batch")
    assert (piece.tool, piece.evidence["parent"]) == ("fetch", "outer")
    assert piece.saves_s == pytest.approx(5 * 9 * 0.002)
    assert (piece.evidence["rows"], piece.evidence["longest_row"]) == (5, 10)
    assert "calls it 10 times in a row" in piece.text
    (other,) = calls.advice("parallel")
    assert (other.tool, other.evidence["tools"]) == ("outer", {"fetch": 50})
    whole_ms = sum(2 + n % 3 for n in range(50))
    assert other.saves_s == pytest.approx((whole_ms - 5 * 4) / 1e3)


@pytest.mark.parametrize("params", ["equal", "none"])
def test_polling_is_no_row(params: str) -> None:
    """The same question again and again: nothing to put together, nothing to ask at once."""
    calls = Calls()
    for _ in range(5):
        calls.below(
            "outer",
            *[lambda parent: calls.add("poll", 2, 1 if params == "equal" else None, parent=parent)]
            * 10,
        )
    assert calls.advice("batch") == []
    assert calls.advice("parallel") == []


def test_taking_turns_is_no_row_and_may_overlap() -> None:
    """Two tools one after the other: no batch, and both at the same time save the shorter one."""
    calls = Calls()
    for n in range(20):
        calls.below(
            "outer",
            lambda parent, n=n: calls.add("a", 10, n, parent=parent),
            lambda parent, n=n: calls.add("b", 4, n, parent=parent),
        )
    assert calls.advice("batch") == []
    (piece,) = calls.advice("parallel")
    assert (piece.tool, piece.saves_s) == ("outer", pytest.approx(20 * 0.004))
    assert piece.evidence["tools"] == {"a": 20, "b": 20}
    assert "if they do not need each other's results" in piece.text


def test_children_of_a_tool_that_calls_itself_are_saved_once() -> None:
    """Three levels that wait for two each: the time of the outermost children is all there is."""
    calls = Calls()

    def walk(depth: int, n: int, parent: int = 0) -> Sighting:
        calls._last_id += 1
        own, start_ns = calls._last_id, calls.now_ns
        if not depth:
            calls.now_ns += 10 * MS
        else:
            for side in range(2):
                walk(depth - 1, 2 * n + side, own)
        last, took_ms = calls._last_id, (calls.now_ns - start_ns) / MS
        found = calls.add("walk", took_ms, n, id=own, parent=parent, at_ms=start_ns / MS)
        calls._last_id = last
        return found

    for turn in range(20):
        walk(3, 1000 * (turn + 1))
    (piece,) = calls.advice("parallel")
    assert piece.evidence["total_s"] == pytest.approx(20 * 8 * 0.010)
    assert piece.saves_s == pytest.approx(20 * 4 * 0.010)


@pytest.mark.parametrize("why", ["overlaps", "computes", "thinks", "fails", "few"])
def test_children_that_should_stay_as_they_are(why: str) -> None:
    """They overlap already, or compute, or their parent works with what they return."""
    calls = Calls()
    for n in range(4 if why == "few" else 30):
        more = {"cpu_percent": 99.0} if why == "computes" else {}
        status = Outcome.ERROR if why == "fails" else Outcome.OK

        def first(parent: int, n: int = n) -> Sighting:
            return calls.add("a", 10, n, parent=parent, status=status, **more)  # noqa: B023  at once

        def second(parent: int, n: int = n) -> Sighting:
            if why == "thinks":
                calls.now_ns += 50 * MS
            elif why == "overlaps" and n == 17:
                calls.now_ns -= 5 * MS
            return calls.add("b", 10, n, parent=parent, **more)  # noqa: B023  at once

        calls.below("outer", first, second)
    assert calls.advice("parallel") == []


# --- what stands out -----------------------------------------------------------------------------


def test_calls_far_beyond_all_others_ask_for_a_time_out() -> None:
    """One in 2,000 takes a hundred times as long; ended at three times p99.9 it saves the rest."""
    calls = Calls()
    for n in range(2_000):
        calls.add("fetch", 1_000 if n == 700 else 10, n)
    (piece,) = calls.advice("timeout")
    assert (piece.tool, piece.evidence["beyond"]) == ("fetch", 1)
    assert piece.evidence["timeout_ms"] == pytest.approx(30, rel=0.05)
    assert piece.saves_s == pytest.approx(0.97, rel=0.01)


def test_what_is_usual_comes_from_all_calls_since_the_last_cleanup() -> None:
    """A run of a few calls is enough where it is known what others took."""
    calls = Calls()
    for n in range(200):
        calls.add("fetch", 1_000 if n == 100 else 10, n)
    assert calls.advice("timeout") == [], "of 200 nobody knows the slowest of a thousand"
    usual = Totals()
    usual.add([10 * MS] * 5_000, 0, 1)
    calls.usual["fetch"] = usual
    (piece,) = calls.advice("timeout")
    assert piece.evidence["known_calls"] == 5_000


def test_slow_calls_that_no_time_out_is_for() -> None:
    """Some are always slow; slow for a child's sake; given up already."""
    calls = Calls()
    for n in range(2_000):
        calls.add("mixed", 1_000 if n % 50 == 0 else 10, n)
        calls.add("given up", 1_000 if n == 5 else 10, n, status=Outcome.TIMEOUT)
        slow = 1_000 if n == 9 else 10
        calls.below("outer", lambda parent, ms=slow: calls.add("inner", ms, 1, parent=parent))
    assert [piece.tool for piece in calls.advice("timeout")] == []


def test_memory_that_grows_with_each_call() -> None:
    """Its own calls' growth, not what others find when they end."""
    calls = Calls()
    held = 100 * MB
    for n in range(200):
        held += MB // 4
        calls.add("leaks", 1, n, memory_bytes=held)
        calls.add("honest", 1, n, memory_bytes=held)
    (piece,) = calls.advice("memory")
    assert (piece.tool, piece.saves_s) == ("leaks", None)
    assert piece.evidence["grown_mb"] == pytest.approx(50, rel=0.02)
    assert piece.evidence["grown_kb_a_call"] == pytest.approx(256, rel=0.02)
    assert "or what runs beside it (`honest`)" in piece.text, "it may keep what the other left"


@pytest.mark.parametrize("kind", ["start", "waves", "little", "two processes", "unknown"])
def test_memory_that_is_no_leak(kind: str) -> None:
    """A start, a cache that has filled, and processes that hold different amounts."""
    calls = Calls()
    for n in range(200):
        held = {
            "start": 100 + min(n, 50),
            "waves": 100 + n % 40,
            "little": 100 + n / 100,
            "two processes": 100 + 50 * (n % 2),
            "unknown": 0,
        }[kind]
        memory = None if kind == "unknown" else int(held * MB)
        calls.add("tool", 1, n, memory_bytes=memory, pid=1 + (kind == "two processes") * (n % 2))
    assert calls.advice("memory") == []


# --- what only points ----------------------------------------------------------------------------


def test_a_hot_spot_is_the_tool_with_the_own_time() -> None:
    """Not the one that waits for it; half of it is what could be saved."""
    calls = Calls()
    for n in range(20):
        calls.below("outer", lambda parent, n=n: calls.add("inner", 9, n, parent=parent))
    (piece,) = calls.advice("hotspot")
    assert (piece.tool, piece.saves_s) == ("inner", pytest.approx(0.09))
    assert piece.evidence["own_share"] == pytest.approx(0.9)


def test_no_hot_spot_where_there_is_nothing_beside_it() -> None:
    """One tool alone, or many that share."""
    alone, many = Calls(), Calls()
    for n in range(100):
        alone.add("one", 10, n)
        many.add(f"tool {n % 5}", 10, n)
    assert alone.advice("hotspot") == many.advice("hotspot") == []


def test_queued_for_longer_than_it_ran() -> None:
    """Tasks whose executor says how long they waited; those of others are not asked."""
    calls = Calls()
    for n in range(20):
        calls.add("late", 10, n, queued_ms=40.0)
        calls.add("early", 10, n, queued_ms=4.0)
        calls.add("untold", 10, n)
    (piece,) = calls.advice("wait")
    assert (piece.tool, piece.saves_s) == ("late", pytest.approx(0.8))
    assert calls.advice()[-1].kind == "wait"


def test_a_limit_that_keeps_no_second() -> None:
    """The tool whose records reach back least far, with a limit that is a minute of calls."""
    calls = Calls()
    for n in range(2_000):
        calls.add("busy", 1, n)
    assert calls.advice("limit") == [], "it keeps all"
    calls.limits["busy"] = 100
    (piece,) = calls.advice("limit")
    assert piece.evidence["reach_s"] == pytest.approx(0.1)
    assert piece.evidence["suggested"] == 60_000
    calls.limits["busy"] = 1_000
    assert calls.advice("limit") == [], "half of the run"


def test_what_takes_no_longer_than_its_recording_is_sampled() -> None:
    """Only if it is called often, and is not sampled already."""
    calls = Calls()
    for n in range(1_000):
        calls.add("tiny", 0.005, n)
        calls.add("slow", 1, n)
    for n in range(100):
        calls.add("rare", 0.005, n)
    (piece,) = calls.advice("sample")
    assert (piece.tool, piece.evidence["suggested_every"]) == ("tiny", 10)
    assert piece.saves_s == pytest.approx(1_000 * 1.4e-6 * 0.9)
    calls.every["tiny"] = 10
    assert calls.advice("sample") == []


def test_calls_that_found_their_ring_full() -> None:
    """The tool with most calls is to be sampled, and told how many were lost."""
    calls = Calls()
    for n in range(1_000):
        calls.add("slow", 1, n)
        if n % 2 == 0:
            calls.add("rare", 1, n)
    calls.lost["ring_full"] = 1_234
    (piece,) = calls.advice("sample")
    assert (piece.tool, piece.evidence["ring_full"]) == ("slow", 1_234)
    assert "1,234 calls of the session found their ring full." in piece.text
    calls.lost = {"too_large": 1_234}
    assert calls.advice("sample") == [], "no sampling makes room for those"


# --- against the report before ------------------------------------------------------------------


def test_what_changed_since_the_report_before() -> None:
    """By the size of the change; what is new is counted, what stayed has no line."""
    before, now = Calls(), Calls()
    for n in range(100):
        before.add("slower", 10, n)
        now.add("slower", 20, n)
        before.add("fails", 10, n)
        now.add("fails", 10, n, status=int(n < 30), err="OSError" if n < 30 else None)
        before.add("same", 10, n)
        now.add("same", 10.1, n)
        now.add("young", 10, n)
    report = now.report(("20261128T120000Z", before.report()))
    text = markdown(report)
    section = text.split("## Since 20261128T120000Z\n")[1].split("##")[0]
    rows = [line for line in section.splitlines() if line.startswith("| `")]
    assert [row.split("`")[1] for row in rows] == ["slower", "fails"]
    assert "+100%" in rows[0]
    assert "+30.0 points" in rows[1]
    assert "1 tool is not in that report." in section
    again = markdown(now.report(("20261128T120001Z", report)))
    assert "No tool that both have seen changed by 5 % or more." in again
    assert "not in that report" not in again


# --- order, bounds, bad input --------------------------------------------------------------------


def test_first_what_removes_work_by_what_it_saves() -> None:
    """Then what points; what can't be told stands behind what can."""
    calls = Calls()
    for n in range(200):
        calls.add("repeats", 4, n % 3, memory_bytes=n * MB)
        calls.add("again", 5, 1)
        calls.add("late", 10, n, queued_ms=900.0)
    found = [(piece.kind, piece.tool) for piece in calls.advice()]
    assert found == [
        ("cache", "again"),
        ("cache", "repeats"),
        ("memory", "repeats"),
        ("hotspot", "late"),
        ("wait", "late"),
    ]


def test_of_many_of_a_kind_the_largest_are_told() -> None:
    """Who has done those asks again."""
    calls = Calls()
    for n in range(20):
        for _ in range(30):
            calls.add(f"tool {n:02}", 1 + n, 1)
    found = [piece.tool for piece in calls.advice("cache")]
    assert found == [f"tool {n}" for n in range(19, 19 - MOST_OF_A_KIND, -1)]


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_is_said_of_nothing(count: int) -> None:
    """No call, or one."""
    calls = Calls()
    for _ in range(count):
        calls.add("tool", 10, 1)
    assert calls.advice() == []
    assert "Nothing that these calls show." in markdown(calls.report())


def test_clocks_that_step_advise_nothing_that_can_t_be() -> None:
    """Starts in any order, ends before other starts: savings stay finite and within the whole."""
    calls = Calls()
    for n in range(300):
        at_ms = (n * 7919) % 300 - 10**6 * (n % 2)
        calls.add("tool", n % 11, n % 5, at_ms=at_ms, parent=max(0, n - 3), memory_bytes=MB)
    whole_s = sum(n % 11 for n in range(300)) / 1e3
    for piece in calls.advice():
        assert piece.saves_s is None or 0 <= piece.saves_s <= whole_s


def test_names_are_shown_as_names() -> None:
    """Huge ones, empty ones, Markdown, bars and a terminal's commands stay in their places."""
    calls = Calls()
    names = ["x" * 10_000, "", "a`|b\n# c", "\x1b[2J|<script>", "\udcff"]
    for name in names:
        for n in range(30):
            calls.add(name, 10, n % 2, status=int(n % 9 == 0), err=name)
    report = calls.report()
    text = markdown(report)
    assert len(report.advice) == len(names)
    assert "\x1b" not in text
    assert max(map(len, text.splitlines())) < 1_000
    tables = [line for line in text.splitlines() if line.startswith("|")]
    widths = {line.replace("\\|", "").count("|") for line in tables}
    assert widths <= {5, 6, 11}
    assert not [line for line in text.splitlines() if line.startswith("# c")]


def test_twenty_thousand_tools() -> None:
    """A call each: the text stays short, and says how many more there are."""
    calls = Calls()
    for n in range(20_000):
        calls.add(f"tool {n}", 1, n)
    report = calls.report()
    assert report.advice == []
    assert len(markdown(report)) < 20_000
    assert "19,950 more are in the JSON" in markdown(report)


@pytest.mark.parametrize("queued", [math.inf, -math.inf, -5.0])
def test_waits_that_are_none(queued: float) -> None:
    """What a task says of itself is anybody's number."""
    calls = Calls()
    for n in range(50):
        calls.add("task", 10, n, queued_ms=queued)
    assert calls.advice("wait") == []
