"""The live terminal: what its first screen tells, keys, what is looked into, what goes wrong."""

from __future__ import annotations

import asyncio
import re
import subprocess
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from rich.text import Text
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Static

from shmperf.analysis.diff import Earlier
from shmperf.errors import SessionError
from shmperf.query.answers import Answers, find_answers, request_for
from shmperf.query.look import Look, ToolLook, Watch, WorkerLook
from shmperf.session.messages import RunStatus
from shmperf.views.live.app import Top
from shmperf.views.live.rowlist import Field, RowList, fitted, fitting
from shmperf.views.live.screens import CallScreen, ConfirmScreen, ToolScreen
from tests.support import DEADLINE_S, Place, assert_books_balance, outputs

Seen = Callable[[], bool]


class Program:
    """A session in which one worker hangs and one goes on, and who answers for it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.started = place.start_program("live/hanging")
        assert self.started.stdout is not None
        self.pid, self.hanging, self.working = map(int, self.started.stdout.readline().split())

    def find(self) -> Answers:
        storage = str(self.place.storage)
        return find_answers(
            request_for(session=None, storage=storage, config=None, environ=self.place.environ)
        )

    def end(self) -> None:
        outputs(self.started, "\n")


@pytest.fixture
def program(place: Place) -> Iterator[Program]:
    started = Program(place)
    yield started
    if started.started.poll() is None:
        started.end()


def shown(app: App[None]) -> str:
    """All that stands on the screen."""
    lines = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in line) for line in lines)


def nobody() -> Answers:
    raise SessionError("nobody answers")


async def until(pilot: Pilot[None], seen: Seen) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not seen():
        assert time.monotonic() < deadline, shown(pilot.app)
        await pilot.pause(0.02)


def drive(
    find: Callable[[], Answers],
    steps: Callable[[Top, Pilot[None]], Awaitable[None]],
    size: tuple[int, int] = (120, 40),
    watch: Watch | None = None,
) -> None:
    """Run the application without a terminal, and do *steps*."""

    async def run() -> None:
        app = Top(find, watch or Watch(find), 0.1)
        async with app.run_test(size=size) as pilot:
            await steps(app, pilot)

    asyncio.run(run())


@pytest.mark.parametrize("size", [(200, 60), (100, 30), (40, 24)])
def test_first_screen_names_the_call_that_hangs(program: Program, size: tuple[int, int]) -> None:
    """One look tells which worker hangs, in which tool, below which: at any width."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "handle › fetch" in shown(app))
        if size[0] > 40:
            line = next(line for line in shown(app).splitlines() if "handle › fetch" in line)
            assert str(program.hanging) in line
            await until(pilot, lambda: "slow_part" in shown(app))

    drive(program.find, steps, size)


def test_slow_child_is_blamed_on_the_first_screen(program: Program) -> None:
    """Tools stand in the order of their own time: the slow child is the first."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        tools = app._first.query_one("#tools", RowList)
        await until(pilot, lambda: len(tools.rows) >= 5 and tools.rows[0].own_share > 0.5)
        assert tools.rows[0].tool == "slow_part"

    drive(program.find, steps)


def test_enter_leads_to_a_tool_and_on_to_its_slowest_call(program: Program) -> None:
    """A tool shows its histogram, callers and callees, errors; a call there its story."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        tools = app._first.query_one("#tools", RowList)
        await until(pilot, lambda: any(row.tool == "serve" and row.count for row in tools.rows))
        await pilot.press("slash", *"serve", "enter")
        await until(pilot, lambda: [row.tool for row in tools.rows] == ["serve"])
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, ToolScreen))
        await until(pilot, lambda: "own work" in _text_of(app, "#around"))
        assert "slow_part" in _text_of(app, "#around")
        slowest = app.screen.query_one("#slowest", RowList)
        assert slowest.rows
        assert slowest.rows[0]["duration_s"] >= 0.02
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, CallScreen))
        await until(pilot, lambda: "├─ slow_part" in shown(app))
        await pilot.press("escape", "escape")
        assert app.screen is app.screen_stack[0]

    drive(program.find, steps)


def _text_of(app: Top, name: str) -> str:
    with app.console.capture() as captured:
        app.console.print(app.screen.query_one(name, Static).content)
    return re.sub(r"\x1b\[[0-9;]*m", "", captured.get())


def test_failed_calls_are_shown_in_groups(program: Program) -> None:
    """A tool's screen says how its calls fail, and how many did."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        tools = app._first.query_one("#tools", RowList)
        await until(pilot, lambda: any(row.tool == "fails" and row.errors for row in tools.rows))
        await pilot.press("slash", *"fails", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, ToolScreen))
        await until(pilot, lambda: "ValueError" in _text_of(app, "#around"))

    drive(program.find, steps)


def test_names_are_text_whatever_is_in_them(program: Program) -> None:
    """Markup, escape sequences and 10,000 characters are shown, cut, and do nothing."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: r"[bold]odd[/]\x1b[31mx" in shown(app))
        await pilot.press("slash", *"[bold]", "enter", "enter")
        await until(pilot, lambda: isinstance(app.screen, ToolScreen))
        await until(pilot, lambda: "over time" in shown(app))
        assert r"[bold]odd[/]\x1b[31mx" in shown(app)

    # So wide that the list has room for what is odd: the call itself is too short to be seen open.
    drive(program.find, steps, size=(160, 40))


def test_rows_are_filtered_sorted_and_reversed_by_key(program: Program) -> None:
    """`/` keeps what has a part of a name, escape all; > sorts by the next column, r turns it."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        tools = app._first.query_one("#tools", RowList)
        await until(pilot, lambda: len(tools.rows) >= 5)
        await pilot.press("slash", *"SLOW")
        await until(pilot, lambda: [row.tool for row in tools.rows] == ["slow_part"])
        await pilot.press("escape")
        await until(pilot, lambda: len(tools.rows) >= 5)
        await pilot.press("greater_than_sign", "f6")
        assert tools.fields[tools.sorted_by or 0].title == "tool"
        names = [row.tool.lower() for row in tools.rows]
        assert names == sorted(names)
        await pilot.press("r")
        assert [row.tool.lower() for row in tools.rows] == sorted(names, reverse=True)

    drive(program.find, steps)


def test_workers_are_filtered_by_number_and_by_what_they_do(program: Program) -> None:
    """Of many workers one is found by its pid, or by the tool that it is in."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        workers = app._first.query_one("#workers", RowList)

        def pids() -> set[int]:
            return {row.pid for row in workers.rows}

        await until(pilot, lambda: {program.hanging, program.working} <= pids())
        await pilot.press("slash", *str(program.working))
        await until(pilot, lambda: pids() == {program.working})
        await pilot.press("escape", "slash", *"fetch")
        await until(pilot, lambda: pids() == {program.hanging})
        await pilot.press("escape", "slash", *"nobody")
        await until(pilot, lambda: not pids())

    drive(program.find, steps)


def test_what_changed_is_shown_against_an_earlier_run(program: Program) -> None:
    """`d` compares what is recorded with the run that was named, as `diff` does."""

    def find() -> Answers:
        answers = program.find()
        answers.earlier = Earlier("the run before", {})
        return answers

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        tools = app._first.query_one("#tools", RowList)
        await until(pilot, lambda: any(row.count for row in tools.rows))
        await pilot.press("d")
        await until(pilot, lambda: "the run before" in _text_of(app, "#found"))
        assert "new" in _text_of(app, "#found")
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app._first)

    drive(find, steps)


def test_pause_keeps_the_screen_as_it_is(program: Program) -> None:
    """Space stops the figures, and lets them go on."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        tools = app._first.query_one("#tools", RowList)

        def count() -> int:
            return sum(row.count for row in tools.rows)

        await until(pilot, lambda: count() > 0)
        await pilot.press("space")
        await until(pilot, lambda: "paused" in shown(app))
        before, looks = count(), app._looking.watch.rates("serve")
        await until(pilot, lambda: len(app._looking.watch.rates("serve")) > len(looks) + 1)
        assert count() == before
        await pilot.press("space")
        await until(pilot, lambda: count() > before)

    drive(program.find, steps)


def test_mode_is_switched_after_a_question_alone(program: Program) -> None:
    """`m` asks; what is not wanted leaves the session as it was."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "mode normal" in shown(app))
        await pilot.press("m")
        await until(pilot, lambda: isinstance(app.screen, ConfirmScreen))
        await pilot.press("n")
        await until(pilot, lambda: not isinstance(app.screen, ConfirmScreen))
        assert program.find().mode() == "normal"
        await pilot.press("m", "y")
        await until(pilot, lambda: program.find().mode() == "optimization")
        await until(pilot, lambda: "mode optimization" in shown(app))

    drive(program.find, steps)


def test_run_in_detail_ends_with_its_report(program: Program) -> None:
    """`o` asks, tells how far the run is, and shows what it advises."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "mode normal" in shown(app))
        await pilot.press("o", "y")
        await until(pilot, lambda: "in detail" in shown(app) or len(app.screen_stack) > 1)
        found = program.find()
        from shmperf.session.messages import Optimize

        found.ask(Optimize("another", ends=True))
        await until(pilot, lambda: len(app.screen_stack) == 2)

    drive(program.find, steps)


def test_session_that_ends_is_told_and_the_next_one_is_seen(program: Program) -> None:
    """What was seen stays; a session that begins in the same place is looked at from then on."""

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "  live" in shown(app) and "slow_part" in shown(app))
        await asyncio.to_thread(program.end)
        await until(pilot, lambda: "at rest" in shown(app))
        assert "slow_part" in shown(app)
        again = await asyncio.to_thread(Program, program.place)
        await until(pilot, lambda: "  live" in shown(app))
        await until(pilot, lambda: str(again.hanging) in shown(app))
        await asyncio.to_thread(again.end)

    drive(program.find, steps)
    program.place.wait_for_end()
    assert_books_balance(program.place.stats())


def test_answer_that_takes_long_leaves_the_screen_alive() -> None:
    """While nobody answers keys are heard, and the screen says that it waits."""
    answered = threading.Event()

    class Slow(Watch):
        def look(self) -> Look:
            answered.wait(DEADLINE_S)
            return super().look()

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        app._looking._asked_at = time.monotonic() - 5
        await until(pilot, lambda: "waiting for an answer" in shown(app))
        await pilot.press("question_mark")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("escape", "q")
        answered.set()

    drive(nobody, steps, watch=Slow(nobody))


def test_quit_waits_for_no_answer(program: Program) -> None:
    """Whoever has had enough leaves at once, however long an answer takes."""
    asked, answered = threading.Event(), threading.Event()

    def slowly() -> Answers:
        asked.set()
        answered.wait(DEADLINE_S)
        return program.find()

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        app.push_screen(CallScreen("00000000000000ff", slowly))
        await until(pilot, asked.is_set)

    drive(program.find, steps)
    assert not answered.is_set()
    answered.set()


def test_thousand_tools_cost_what_is_seen() -> None:
    """Of 1,000 tools and 200 workers only those on the screen are made into text."""
    made: list[str] = []

    def cell(row: str) -> str:
        made.append(row)
        return row

    rows = RowList((Field("name", 0, 0, cell, lambda row: row),), lambda row: row, empty="none")

    class Alone(App[None]):
        def compose(self) -> Any:
            yield rows

    async def run() -> None:
        app = Alone()
        async with app.run_test(size=(80, 20)) as pilot:
            rows.show([f"tool {n}" for n in range(1000)])
            await pilot.pause(0.1)
            assert 0 < len(set(made)) <= 20
            rows.focus()
            await pilot.press("end")
            assert rows.chosen == "tool 999"
            await until(pilot, lambda: "tool 999" in shown(app))

    asyncio.run(run())


def test_cursor_stays_on_its_row_while_rows_come_and_go() -> None:
    """Who has chosen a row does not look into another because the order has changed."""
    rows = RowList((Field("name", 0, 0, str, str),), lambda row: row, empty="none")
    rows.rows = ["a", "b", "c"]
    rows._cursor = 1
    rows._measure = lambda: None  # type: ignore[method-assign]
    rows.refresh = lambda *_, **__: rows  # type: ignore[method-assign]
    rows.show(["x", "y", "b", "a"])
    assert rows.chosen == "b"
    rows.show(["x"])
    assert rows.chosen == "x"
    rows.show([])
    assert rows.chosen is None


@pytest.mark.parametrize("room", [1, 5, 20, 40, 80, 300])
def test_columns_fit_in_any_width(room: int) -> None:
    """What matters least is left out; what is left never needs more than there is."""
    fields = [
        Field("name", 0, 0, str),
        Field("a", 8, 1, str),
        Field("b", 12, 3, str),
        Field("c", 6, 2, str),
    ]
    found = fitting(fields, room)
    assert found
    assert [place for place, _ in found] == sorted(place for place, _ in found)
    assert len(found) == 1 or sum(width + 2 for _, width in found) <= room
    assert found[0][0] == 0


@pytest.mark.parametrize("text", ["", "abc", "日本語のツール", "e\u0301" * 40, "x" * 10_000])
def test_cell_is_exactly_as_wide_as_its_column(text: str) -> None:
    """Wide, combining and very many characters take the column's room, no more and no less."""
    for room in (1, 2, 7, 30):
        for is_text in (True, False):
            assert Text(fitted(text, room, is_text=is_text).plain).cell_len == room
            name = fitted(text, room, is_text=is_text, is_name=True)
            assert Text(name.plain).cell_len == room


def test_plain_looks_are_tables_one_after_the_other(program: Program) -> None:
    """Without a terminal `top` prints look after look, in plain text."""
    place = program.place
    place.collector_pid()
    out = place.shmperf("top", "--count", "2", "--interval", "0.1")
    assert out.count("mode normal") == 2
    assert "\x1b" not in out
    assert "handle › fetch" in out
    narrow = place.shmperf("top", "--count", "1", "--plain", LC_ALL="C")
    assert narrow.isascii()


def test_look_as_json_has_its_shape(program: Program) -> None:
    """`--json` prints one look, and ends."""
    program.place.collector_pid()
    look = program.place.ask("top")
    assert {"tools", "workers", "open", "alerts", "lost", "begun"} <= look.keys()
    assert look["begun"] == look["total_calls"] + look["aborted"] + look["in_flight"]


def test_storage_that_is_not_there_is_told_in_a_line(place: Place) -> None:
    """Who names what is not there hears so, and the exit code is 1."""
    failed = place.start_module("top", "--storage", "nowhere")
    _, err = outputs(failed)
    assert failed.returncode == 1
    assert err.count("\n") == 1
    assert "nowhere" in err


def test_terminal_that_comes_first_sees_what_comes(place: Place) -> None:
    """Started before the program, it says that nothing is there yet, and shows it once it is."""

    def find() -> Answers:
        storage = str(place.storage)
        return find_answers(
            request_for(session=None, storage=storage, config=None, environ=place.environ)
        )

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "nothing was recorded in" in shown(app))
        program = await asyncio.to_thread(Program, place)
        await until(pilot, lambda: "handle › fetch" in shown(app))
        await asyncio.to_thread(program.end)

    drive(find, steps)


def test_look_of_many_tools_is_drawn_from_what_is_known() -> None:
    """A look with 1,000 tools and 200 workers stands on the screen whole: heads, rows, counts."""
    look = Look(
        at_s=1.0, session="s", storage="here", mode="normal", is_live=True, complete=True,
        problem=None, begun=1000, total_calls=1000, errors=3, aborted=0, in_flight=0, lost={},
        rate=5.0,
        tools=[
            ToolLook(
                tool=f"tool {n}", count=n, rate=1.0, p50_s=1e-6, p95_s=1e-5, p99_s=None, errors=0,
                aborted=0, own_share=n / 499_500, in_flight=0,
            )
            for n in range(1000)
        ],
        workers=[
            WorkerLook(
                pid=n, memory_bytes=1 << 20, cpu_percent=1.0, threads=2, doing=None, in_flight=0
            )
            for n in range(200)
        ],
        open=[], alerts=[], optimization=RunStatus(),
    )  # fmt: skip

    class Fixed(Watch):
        def look(self) -> Look:
            return look

    async def steps(app: Top, pilot: Pilot[None]) -> None:
        await until(pilot, lambda: "tools 1,000" in shown(app))
        assert "workers 200" in shown(app)
        assert "tool 999" in shown(app)

    drive(nobody, steps, watch=Fixed(nobody))


def test_interrupts_end_it_and_leave_nothing(program: Program) -> None:
    """SIGTERM ends the plain form too; no child is left."""
    started = program.place.start_module("top", "--plain", "--interval", "0.1")
    assert started.stdout is not None
    assert started.stdout.readline()
    started.terminate()
    try:
        started.communicate(timeout=DEADLINE_S)
    except subprocess.TimeoutExpired:
        pytest.fail("it goes on")
    assert started.returncode != 0
