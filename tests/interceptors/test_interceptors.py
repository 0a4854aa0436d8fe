"""Interceptors: their order, what they may do, and that nothing they do fails a tool."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from shmperf import interceptors
from shmperf.analysis.errorgroups import fingerprint_of
from shmperf.errors import Once
from shmperf.interceptors import (
    BugCatcherInterceptor,
    InterceptorChain,
    InterceptorPriority,
    OptimizedPerfTrackerInterceptor,
    PerfCatcherInterceptor,
    ToolInterceptor,
)
from shmperf.worker.process import worker
from tests.support import Place, assert_books_balance


class Noting(ToolInterceptor):
    """Notes what it sees under its letter."""

    def __init__(self, letter: str, notes: list[str], *priority: InterceptorPriority) -> None:
        super().__init__(*priority)
        self.letter = letter
        self.notes = notes

    def before_execution(self, tool_name: str, args: Any, kwargs: Any, context: Any) -> Any:
        self.notes.append(f"{self.letter} before")
        return context

    def after_execution(self, tool_name: str, result: Any, context: Any) -> Any:
        self.notes.append(f"{self.letter} after")
        return result

    def on_exception(self, tool_name: str, exception: BaseException, context: Any) -> bool:
        self.notes.append(f"{self.letter} {type(exception).__name__}")
        return False


def chain_of(*parts: ToolInterceptor) -> InterceptorChain:
    chain = InterceptorChain()
    for part in parts:
        chain.add_interceptor(part)
    return chain


def double(value: int, *, plus: int = 0) -> int:
    return 2 * value + plus


def fail() -> None:
    raise ValueError("no")


# --- the chain ------------------------------------------------------------------------------------


def test_priorities_are_the_promised_numbers() -> None:
    """The lowest number is the outermost."""
    found = {priority.name: priority.value for priority in InterceptorPriority}
    assert found == {"FIRST": 0, "HIGH": 10, "NORMAL": 50, "LOW": 90, "LAST": 100}


def test_before_in_order_and_after_in_reverse() -> None:
    """Whatever the order in which they were added; of one priority, the first added goes first."""
    notes: list[str] = []
    chain = chain_of(
        Noting("c", notes),
        Noting("e", notes, InterceptorPriority.LAST),
        Noting("a", notes, InterceptorPriority.FIRST),
        Noting("d", notes),
        Noting("b", notes, InterceptorPriority.HIGH),
    )
    assert chain.intercept_tool_call("double", double, (3,), {"plus": 1}) == 7
    assert notes == [f"{x} before" for x in "abcde"] + [f"{x} after" for x in "edcba"]


def test_every_interceptor_hears_of_an_exception() -> None:
    """It is raised again, the very same, and nobody's after hook runs."""
    notes: list[str] = []
    chain = chain_of(Noting("b", notes), Noting("a", notes, InterceptorPriority.FIRST))
    with pytest.raises(ValueError, match="no"):
        chain.intercept_tool_call("fail", fail)
    assert notes == ["a before", "b before", "a ValueError", "b ValueError"]


def test_one_true_suppresses() -> None:
    """The call returns None, and the others still hear of the exception."""
    notes: list[str] = []

    class Suppressing(ToolInterceptor):
        def on_exception(self, tool_name: str, exception: Any, context: Any) -> bool:
            return True

    chain = chain_of(Suppressing(InterceptorPriority.FIRST), Noting("a", notes))
    assert chain.intercept_tool_call("fail", fail) is None
    assert notes == ["a before", "a ValueError"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_ends_a_program_is_not_suppressed(error: type[BaseException]) -> None:
    """Interrupts, exits and cancellations pass, whatever an interceptor says."""

    class Suppressing(ToolInterceptor):
        def on_exception(self, tool_name: str, exception: Any, context: Any) -> bool:
            return True

    def end() -> None:
        raise error

    with pytest.raises(error):
        chain_of(Suppressing()).intercept_tool_call("end", end)


def test_results_may_be_changed() -> None:
    """Each after hook gets what the one before made of the result."""

    class Adding(ToolInterceptor):
        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

        def after_execution(self, tool_name: str, result: Any, context: Any) -> Any:
            return f"{result}{self.text}"

    chain = chain_of(Adding("a"), Adding("b"))
    assert chain.intercept_tool_call("double", double, (1,)) == "2ba"


def test_the_context_is_passed_along_and_may_be_changed() -> None:
    """In place or for another one; the caller's own keeps what was put in, and nothing of ours."""
    seen: list[dict[str, Any]] = []

    class Marking(ToolInterceptor):
        def before_execution(self, tool_name: str, args: Any, kwargs: Any, context: Any) -> Any:
            context["marked"] = args, dict(kwargs)
            return context

    class Exchanging(ToolInterceptor):
        def before_execution(self, tool_name: str, args: Any, kwargs: Any, context: Any) -> Any:
            return {"other": True}

        def after_execution(self, tool_name: str, result: Any, context: Any) -> Any:
            seen.append(context)
            return result

    context: dict[str, Any] = {}
    chain = chain_of(Marking(), Exchanging())
    chain.intercept_tool_call("double", double, (1,), {"plus": 2}, context)
    assert context == {"marked": ((1,), {"plus": 2})}
    assert seen == [{"other": True}]


def test_enabled_is_looked_at_at_every_call() -> None:
    """Switching off and on works at once; who was on at the start of a call sees its end."""
    notes: list[str] = []
    part = Noting("a", notes)
    chain = chain_of(part)
    part.enabled = False
    chain.intercept_tool_call("double", double, (1,))
    assert notes == []
    part.enabled = True

    def switch() -> None:
        part.enabled = False

    chain.intercept_tool_call("switch", switch)
    assert notes == ["a before", "a after"]


def test_interceptors_are_removed_by_type() -> None:
    """All of that type, its subclasses among them; a call that is under way goes on with them."""
    notes: list[str] = []
    chain = chain_of(Noting("a", notes), ToolInterceptor(), Noting("b", notes))
    chain.intercept_tool_call("remove", lambda: chain.remove_interceptor(Noting))
    assert notes == ["a before", "b before", "b after", "a after"]
    assert [type(part) for part in chain.interceptors] == [ToolInterceptor]
    chain.remove_interceptor(ToolInterceptor)
    assert chain.interceptors == []


class Failing(ToolInterceptor):
    """Raises in every hook."""

    def before_execution(self, tool_name: str, args: Any, kwargs: Any, context: Any) -> Any:
        raise LookupError("before")

    def after_execution(self, tool_name: str, result: Any, context: Any) -> Any:
        raise LookupError("after")

    def on_exception(self, tool_name: str, exception: BaseException, context: Any) -> bool:
        raise LookupError("exception")


FORGOTTEN = "found NoneType, expected the context"


class Forgetful(ToolInterceptor):
    """Forgets to return the context."""

    def before_execution(self, *_: Any) -> Any:
        return None


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """What the ``shmperf`` logger is told."""
    monkeypatch.setattr(interceptors.chain, "_told", Once())
    with caplog.at_level(logging.WARNING, "shmperf"):
        yield lambda: [record.getMessage() for record in caplog.records]


def test_a_failing_interceptor_is_told_and_passed_over(told: Any) -> None:
    """The tool's result, the others' hooks and the exception are what they would be; told once."""
    notes: list[str] = []
    chain = chain_of(Failing(InterceptorPriority.FIRST), Noting("a", notes), Forgetful())
    for _ in range(3):
        assert chain.intercept_tool_call("double", double, (4,)) == 8
    with pytest.raises(ValueError, match="no"):
        chain.intercept_tool_call("fail", fail)
    assert notes[:2] == ["a before", "a after"]
    assert notes[-1] == "a ValueError"
    assert told() == [
        "interceptor Failing: before_execution failed: LookupError: before",
        f"interceptor Forgetful: before_execution failed: TypeError: {FORGOTTEN}",
        "interceptor Failing: after_execution failed: LookupError: after",
        "interceptor Failing: on_exception failed: LookupError: exception",
    ]


def test_a_failing_interceptor_does_not_fail_an_async_tool(told: Any) -> None:
    """The same when the tool is awaited."""

    async def tool() -> int:
        return 1

    assert asyncio.run(chain_of(Failing()).intercept_tool_call("tool", tool)) == 1
    assert len(told()) == 2


async def _async_double(value: int) -> int:
    await asyncio.sleep(0)
    return 2 * value


class AsyncObject:
    async def __call__(self, value: int) -> int:
        return await _async_double(value)

    async def method(self, value: int) -> int:
        return await _async_double(value)


ASYNC_TOOLS = {
    "function": _async_double,
    "method": AsyncObject().method,
    "partial": functools.partial(_async_double),
    "object": AsyncObject(),
    "function that returns a coroutine": lambda value, double=_async_double: double(value),
}


@pytest.mark.parametrize("tool", ASYNC_TOOLS.values(), ids=ASYNC_TOOLS)
def test_async_tools_are_awaited_in_the_middle(tool: Any) -> None:
    """The hooks stand around the whole of it, and get its result."""
    notes: list[str] = []

    class Negating(ToolInterceptor):
        def after_execution(self, tool_name: str, result: Any, context: Any) -> Any:
            return -result

    chain = chain_of(Noting("a", notes), Negating())

    async def run() -> int:
        coroutine = chain.intercept_tool_call("tool", tool, (3,))
        notes.append("called")
        result: int = await coroutine
        return result

    assert asyncio.run(run()) == -6
    assert sorted(notes) == ["a after", "a before", "called"]
    assert notes[-1] == "a after"


def test_an_async_tool_that_fails() -> None:
    """Its exception goes the same way, and may be suppressed."""

    class Suppressing(ToolInterceptor):
        def on_exception(self, tool_name: str, exception: BaseException, context: Any) -> bool:
            return isinstance(exception, ValueError)

    async def tool(error: Exception) -> None:
        await asyncio.sleep(0)
        raise error

    chain = chain_of(Suppressing())
    assert asyncio.run(chain.intercept_tool_call("tool", tool, (ValueError(),))) is None
    assert asyncio.run(chain.intercept_tool_call("tool", lambda: tool(ValueError()))) is None
    with pytest.raises(LookupError):
        asyncio.run(chain.intercept_tool_call("tool", tool, (LookupError(),)))


def test_importing_shmperf_does_not_import_them(place: Place) -> None:
    """Who does not use interceptors or the drop-in module pays nothing for them."""
    place.run_program("interceptors/importing_shmperf_does_not_import")
    assert not place.sessions()


# --- fingerprints ---------------------------------------------------------------------------------


def _raise(text: str, depth: int = 0) -> None:
    if depth:
        _raise(text, depth - 1)
    raise ValueError(text)


def _raise_elsewhere() -> None:
    raise ValueError("a")


def _caught(function: Any, *args: Any) -> BaseException:
    try:
        function(*args)
    except (ValueError, LookupError) as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_fingerprint_is_that_of_the_way_not_of_the_message() -> None:
    """Nor of a recursion's depth; another place or class makes another one."""
    first, where = fingerprint_of(_caught(_raise, "a"))
    assert len(first) == 16
    assert where.endswith(f"{_raise.__qualname__}:{_raise.__code__.co_firstlineno + 3}")
    assert fingerprint_of(_caught(_raise, "b"))[0] == first
    deep = fingerprint_of(_caught(_raise, "a", 2))[0]
    assert deep == fingerprint_of(_caught(_raise, "a", 30))[0]
    others = {first, deep, fingerprint_of(_caught(_raise_elsewhere))[0]}
    assert len({*others, fingerprint_of(_caught(int, "x"))[0]}) == 4


def test_a_fingerprint_stays_when_the_rest_of_the_file_changes() -> None:
    """Lines are counted from the function's own first one."""
    source = "def tool():\n    if True:\n        raise KeyError(1)\n"
    found = set()
    for before in ("", "\n\n# a new comment\n\n"):
        names: dict[str, Any] = {"__name__": "tools"}
        exec(compile(before + source, "tools.py", "exec"), names)  # noqa: S102  two versions
        found.add(fingerprint_of(_caught(names["tool"]))[0])
    assert len(found) == 1


# --- the switches ---------------------------------------------------------------------------------

SWITCHES = {
    "BUGCATCHER_ENABLED": BugCatcherInterceptor,
    "PERFCATCHER_ENABLED": PerfCatcherInterceptor,
    "OPTIMIZED_PERF_TRACKER_ENABLED": OptimizedPerfTrackerInterceptor,
}


@pytest.mark.parametrize(("name", "kind"), SWITCHES.items(), ids=SWITCHES)
@pytest.mark.parametrize(
    ("value", "on"), [(None, True), ("False", False), ("0", False), ("yes", True), ("?", True)]
)
def test_environment_switches(
    monkeypatch: pytest.MonkeyPatch, name: str, kind: Any, value: str | None, on: bool
) -> None:
    """Each is on by default, and read when the interceptor is made."""
    # As in a process in which nobody has asked for a session.
    monkeypatch.setattr(worker, "is_off", False)
    monkeypatch.setattr(worker, "_started", False)
    if value is None:
        monkeypatch.delenv(name, raising=False)
    else:
        monkeypatch.setenv(name, value)
    assert kind().enabled is on


def test_perfcatcher_reads_its_variables(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be is told, and its default holds."""
    found = PerfCatcherInterceptor()
    assert (found.variance_threshold, found.min_samples, found.window_size) == (0.2, 10, 100)
    monkeypatch.setenv("PERFCATCHER_VARIANCE_THRESHOLD", "0.5")
    monkeypatch.setenv("PERFCATCHER_MIN_SAMPLES", "many")
    monkeypatch.setenv("PERFCATCHER_WINDOW_SIZE", "50")
    found = PerfCatcherInterceptor()
    assert (found.variance_threshold, found.min_samples, found.window_size) == (0.5, 10, 50)
    assert "PERFCATCHER_MIN_SAMPLES: found 'many'" in caplog.text


def test_the_global_chain_holds_three() -> None:
    """BugCatcher outermost; there is one chain in a process, whoever asks first."""
    chains: list[InterceptorChain] = []
    threads = [
        threading.Thread(target=lambda: chains.append(interceptors.get_global_interceptor_chain()))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(chain) for chain in chains}) == 1
    found = [(type(part), part.priority.name) for part in chains[0].interceptors]
    assert found == [
        (BugCatcherInterceptor, "FIRST"),
        (PerfCatcherInterceptor, "HIGH"),
        (OptimizedPerfTrackerInterceptor, "HIGH"),
    ]


# --- recording ------------------------------------------------------------------------------------


def by_tool(place: Place) -> dict[str, int]:
    """How many calls of each tool were counted."""
    return {name: row["count"] for name, row in place.stats()["tool_stats"].items()}


def test_calls_are_recorded_with_names_parameters_and_parents(place: Place) -> None:
    """Positional parameters by the function's own names, methods without self."""
    place.run_program("interceptors/calls_recorded_with_names_parameters")
    assert by_tool(place) == {"builtin": 1, "fetch": 1, "method": 1, "search": 1}
    (search,), (fetch,) = place.lines("search"), place.lines("fetch")
    assert search["data"]["p"] == '{"query":"q","top":1}'
    assert fetch["data"]["p"] == '{"url":"q","rest":[1,2]}'
    assert fetch["data"]["parent"] == search["data"]["id"]
    assert place.lines("method")[0]["data"]["p"] == '{"text":"t"}'
    assert place.lines("builtin")[0]["data"]["p"] == '{"args":[1,2]}'


def test_a_call_that_hook_chain_and_decorator_see_is_counted_once(place: Place) -> None:
    place.run_program("interceptors/call_hook_chain_decorator_see")
    # Each attempt is the call and the one that it makes of itself.
    assert by_tool(place) == {"load": 8, "get": 1, "put": 1}
    assert_books_balance(place.stats())
    errors = [entry for entry in place.lines("load") if entry["data"].get("err")]
    assert len(errors) == 5
    assert sum("fingerprint" in entry["data"] for entry in errors) == 1


def test_one_context_may_be_handed_down_and_shared(place: Place) -> None:
    """Nested and concurrent calls with one context dict end each its own call."""
    place.run_program("interceptors/one_context_may_be_handed")
    assert by_tool(place) == {"leaf": 80, "outer": 80}
    outer = {line["data"]["id"] for line in place.lines("outer")}
    assert {line["data"]["parent"] for line in place.lines("leaf")} == outer


def test_an_interceptor_may_exchange_the_context(place: Place) -> None:
    """The call ends all the same."""
    place.run_program("interceptors/interceptor_may_exchange_context")
    assert by_tool(place) == {"tool": 1}


def test_async_calls_have_their_own_times_and_parents(place: Place) -> None:
    """Concurrent ones too, and whether the coroutine comes from a function that is none."""
    place.run_program("interceptors/async_calls_have_their_own")
    assert by_tool(place) == {"leaf": 20, "outer": 20}
    outer = {line["data"]["id"]: line["data"]["p"] for line in place.lines("outer")}
    leaves = {line["data"]["parent"]: line["data"]["p"] for line in place.lines("leaf")}
    assert leaves == outer
    assert min(line["data"]["d"] for line in place.lines("outer")) >= 0.01


def test_cpu_is_told_of_synchronous_calls_only(place: Place) -> None:
    """In optimization mode, as everywhere else."""
    place.run_program("interceptors/cpu_told_synchronous_calls_only")
    found = {name: place.lines(name)[0]["data"] for name in ("sync", "async", "lambda")}
    assert {name: data["cpu_percent"] is None for name, data in found.items()} == {
        "sync": False,
        "async": True,
        "lambda": True,
    }


def test_an_interrupt_in_a_hook_leaves_no_call_open(place: Place) -> None:
    """It passes, and the call has an end."""
    place.run_program("interceptors/interrupt_hook_leaves_no_call")
    assert by_tool(place) == {"tool": 2}


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "Alarm"])
def test_raising_signal_handlers_leave_no_call_open(place: Place, kind: str) -> None:
    """Whatever step they strike in, they pass, and each call is stored or counted once."""
    place.run_program(
        "interceptors/raising_signal_handlers_leave_no",
        kind,
        PERFCATCHER_ENABLED="false",
    )


def test_hooks_may_be_called_without_a_chain(place: Place) -> None:
    """By somebody else's chain, also with one context for call after call."""
    place.run_program("interceptors/hooks_may_be_called_without")
    lines = [line["data"] for line in place.lines("tool")]
    assert [data["p"] for data in lines] == [f'{{"args":[{number}]}}' for number in range(3)]
    assert [data.get("error") for data in lines] == [None, None, "no"]


def test_a_class_that_forgets_its_parents_init_has_the_defaults() -> None:
    """Normal priority, enabled."""

    class Careless(ToolInterceptor):
        def __init__(self) -> None:
            """Nothing."""

        def after_execution(self, tool_name: str, result: Any, context: Any) -> Any:
            return -result

    assert chain_of(Careless()).intercept_tool_call("double", double, (1,)) == -2


def test_intercept_class_covers_a_framework_of_tools(place: Place) -> None:
    """Subclasses made before and after, async ones, names of instances; super() is one call."""
    place.run_program("interceptors/intercept_class_covers_framework_tools")
    assert by_tool(place) == dict.fromkeys(("Async", "Child", "Early", "Other", "Tool", "late"), 1)
    assert place.lines("late")[0]["data"]["p"] == '{"text":"a"}'


def test_tracking_off_leaves_the_tools_alone(place: Place) -> None:
    """Nothing is recorded and no session founded; what fails still fails."""
    place.run_program(
        "interceptors/tracking_off_leaves_tools_alone",
        OPTIMIZED_PERF_TRACKER_ENABLED="false",
    )
    assert not place.sessions()
    assert not place.storage.exists()


# --- BugCatcher -----------------------------------------------------------------------------------


@pytest.mark.parametrize("optimize", [False, True])
def test_every_exception_leaves_a_record(place: Place, *, optimize: bool) -> None:
    """Class, message, fingerprint, tool, parameters and parent, in both modes."""
    place.run_program("interceptors/bugs", "1", str(optimize))
    (load,), (parse,), (convert,) = (place.lines(t) for t in ("load", "parse", "convert"))
    found, outer = parse["data"], load["data"]
    assert (found["status"], found["err"], found["error"]) == ("error", "KeyError", "'t0'")
    assert found["fingerprint"] == outer["fingerprint"]
    assert found["where"].startswith("__main__.parse:")
    assert outer["where"] == ""
    assert found["parent_tool" if optimize else "parent"] == outer["id"]
    params = {"text": "t0", "api_key": "***"}
    assert found["params" if optimize else "p"] == (
        params if optimize else '{"text":"t0","api_key":"***"}'
    )
    assert convert["data"]["fingerprint"] != found["fingerprint"]
    assert convert["data"]["where"] == "outside of Python"
    assert convert["data"]["error"].startswith("invalid literal for int()")


def test_errors_are_grouped_by_fingerprint_across_processes_and_limits(place: Place) -> None:
    """Counts are of all, kept or not; running, at rest, and after a restart."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: 3\n")
    programs = [place.start_program("interceptors/bugs", "40") for _ in range(3)]
    for program in programs:
        place.finish(program)
    for _ in range(2):
        keyed, converted = place.ask("errors")
        assert (keyed["count"], keyed["err"], sorted(keyed["tools"])) == (
            120,
            "KeyError",
            ["load", "parse"],
        )
        assert keyed["first"] < keyed["last"]
        assert keyed["sample"].startswith("'t")
        assert keyed["where"].startswith("__main__.parse:")
        assert keyed["parent"]
        assert "s3cret" not in str(keyed)
        assert (converted["count"], converted["tools"]) == (3, ["convert"])
        assert [row["err"] for row in place.ask("errors", "convert")] == ["ValueError"]
        text = place.shmperf("errors")
        assert keyed["fingerprint"] in text
        assert converted["fingerprint"] in text
        place.wait_for_end()
        place.run_script("import shmperf\nwith shmperf.call('other'): pass\n")
    place.shmperf("cleanup")
    assert place.ask("errors") == []


def test_a_killed_collector_counts_no_exception_twice_or_not_at_all(place: Place) -> None:
    """Groups are journalled with the records that they count."""
    program = place.start_program("interceptors/killed_collector_counts_no_exception")
    assert program.stdin is not None
    assert program.stdout is not None
    for _ in range(4):
        program.stdin.write("\n")
        program.stdin.flush()
        assert program.stdout.readline() == "done\n"
        os.kill(place.collector_pid(), signal.SIGKILL)
    place.finish(program)
    found = place.stats()["tool_stats"]["fail"]
    (group,) = place.ask("errors")
    assert group["count"] == found["errors"] == found["count"] == 800


def test_failed_calls_that_nobody_caught_are_grouped_by_class(place: Place) -> None:
    """As before, beside those with a fingerprint, and none is there twice."""
    place.run_program("interceptors/failed_calls_nobody_caught_grouped")
    plain, caught = place.ask("errors")
    assert (plain["tool"], plain["count"], plain["fingerprint"]) == ("plain", 2, None)
    assert (caught["tool"], caught["count"], len(caught["fingerprint"])) == ("tool", 1, 16)


def test_a_failed_call_that_nothing_else_records(place: Place) -> None:
    """BugCatcher alone records the calls that fail, with their time and parameters."""
    place.run_program("interceptors/failed_call_nothing_else_records")
    (line,) = place.lines("tool")
    assert line["data"]["err"] == "ValueError"
    assert line["data"]["d"] >= 0.01
    assert "0.01" in line["data"]["p"]
    assert place.ask("errors")[0]["count"] == 1


def test_cancelled_calls_are_no_bugs(place: Place) -> None:
    """They end as cancelled, without a fingerprint."""
    place.run_program("interceptors/cancelled_calls_no_bugs")
    (line,) = place.lines("tool")
    assert line["data"]["status"] == "cancelled"
    assert "fingerprint" not in line["data"]


# --- PerfCatcher ----------------------------------------------------------------------------------


def test_an_unusual_duration_is_told(place: Place) -> None:
    """On the program's own logger and by status, running or at rest; cleanup forgets it."""
    program = place.start_program("interceptors/slow_one")
    place.finish(program)
    error_text: str = program.error_text  # type: ignore[attr-defined]
    slow = place.lines("tool")[-1]["data"]["id"]
    # On a busy machine others may be unusual as well.
    assert f"tool: call {slow} took " in error_text
    rows = place.ask("status")["unusual"]
    (found,) = [row for row in rows if row["id"] == slow]
    assert found["duration_s"] > 0.1 > found["usual_to_s"] > 0.002 > found["usual_from_s"]
    assert "unusual    tool took" in place.shmperf("status")
    place.wait_for_end()
    assert place.ask("status")["unusual"] == rows
    place.shmperf("cleanup")
    assert place.ask("status")["unusual"] == []


def test_it_is_told_while_the_program_runs(place: Place) -> None:
    """Within seconds, by the process that made the call, not by another one."""
    name = "interceptors/slow_one"
    other, program = (place.start_program(name, "more") for _ in range(2))
    for found in (other, program):
        assert found.stdout is not None
        assert found.stdout.readline() == "slow\n"
    assert program.stdin is not None
    assert program.stderr is not None
    program.stdin.write("\n")
    program.stdin.flush()
    line = program.stderr.readline()
    assert line.startswith("tool: call ")
    rows = {row["id"]: row for row in place.ask("status")["unusual"]}
    assert rows[line.split()[2]]["pid"] == program.pid
    place.finish(program)
    place.finish(other)


@pytest.mark.parametrize(
    "environ",
    [
        {"PERFCATCHER_ENABLED": "no"},
        {"PERFCATCHER_MIN_SAMPLES": "50"},
        {"PERFCATCHER_VARIANCE_THRESHOLD": "1000"},
    ],
    ids=str,
)
def test_what_perfcatcher_was_told_holds(place: Place, environ: Mapping[str, str]) -> None:
    """Off, too few samples, a wide range: nothing is told."""
    program = place.start_program("interceptors/slow_one", **environ)
    place.finish(program)
    assert program.error_text == ""  # type: ignore[attr-defined]
    assert place.ask("status")["unusual"] == []


def test_the_books_balance_through_the_chain(place: Place) -> None:
    """Many processes, many failures, one interceptor that always fails."""
    place.run_program("interceptors/books_balance_through_chain", PYTHONWARNINGS="ignore")
    found = place.stats()
    assert_books_balance(found)
    assert (found["total_calls"], found["tool_stats"]["tool"]["errors"]) == (600, 200)
    (group,) = place.ask("errors")
    assert group["count"] == 200
