"""What a tracked function, class or block is: itself, recorded."""

from __future__ import annotations

import inspect
import json
import pickle
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from struct import Struct

import msgspec
import pytest

import shmperf
from tests.support import PROGRAMS, Place, assert_books_balance


def plain(a: int, b: str = "x") -> str:
    """A docstring."""
    return f"{a}{b}"


async def coroutine(a: int) -> int:
    return a


def generator(a: int) -> Iterator[int]:
    yield a


async def async_generator(a: int) -> AsyncIterator[int]:
    yield a


module_level = plain
tracked_plain = shmperf.track(plain)


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_wrapper_is_of_the_same_kind(function: object) -> None:
    """Signature, name, types, docstring and kind stay."""
    tracked = shmperf.track(function)
    assert inspect.signature(tracked) == inspect.signature(function)
    for name in ("__name__", "__doc__", "__annotations__", "__module__", "__qualname__"):
        assert getattr(tracked, name) == getattr(function, name)
    for kind in (
        inspect.iscoroutinefunction,
        inspect.isgeneratorfunction,
        inspect.isasyncgenfunction,
    ):
        assert kind(tracked) == kind(function)


@shmperf.track("renamed")
def pickled(a: int) -> int:
    return a + 1


def test_tracked_function_pickles() -> None:
    """A tracked function at module level goes to another process by name."""
    assert pickle.loads(pickle.dumps(pickled)) is pickled  # noqa: S301  our own bytes


def test_what_is_not_callable_is_refused() -> None:
    """Decorating a value is a TypeError where it happens."""
    with pytest.raises(TypeError, match="expected a callable"):
        shmperf.track(5)  # type: ignore[call-overload]


def test_every_kind_of_function_is_recorded_with_its_result(place: Place) -> None:
    """Functions, methods of all kinds, coroutines and generators: results, errors and counts."""
    place.run_program("wrappers/every_kind_function_recorded_with")
    stats = place.stats()
    counts = {name: (row["count"], row["errors"]) for name, row in stats["tool_stats"].items()}
    assert counts == {
        "method": (2, 1),
        "made": (2, 0),
        "static": (2, 0),
        "fails": (3, 3),
        "numbers": (3, 1),
        "waits": (2, 1),
        "ticks": (2, 0),
        "sleeper": (1, 0),
        "block": (2, 1),
    }
    place.wait_for_end()
    assert place.lines("method")[0]["data"]["p"] == '{"a":1,"rest":[5],"b":3,"c":4}'
    assert [line["data"].get("status") for line in place.lines("fails")] == [
        "error",
        "timeout",
        "error",
    ]
    assert place.lines("sleeper")[0]["data"]["status"] == "cancelled"


def test_params_choose_what_is_recorded(place: Place) -> None:
    """``params`` is False, names, or a function; what fails there changes nothing."""
    place.run_program("wrappers/params_choose_what_recorded")
    place.wait_for_end()
    found = {
        tool: [line["data"]["p"] for line in place.lines(tool)]
        for tool in ("nothing", "chosen", "own", "broken")
    }
    assert found == {
        "nothing": ["{}"],
        "chosen": ['{"b":5}', "{}"],
        "own": ['{"size":2}'],
        "broken": ["{}"],
    }


def test_class_tracks_the_method_of_every_subclass(place: Place) -> None:
    """Subclasses before and after, by instance name or class; ``super()`` is one call."""
    place.run_program("wrappers/class_tracks_method_every_subclass")
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"a": 1, "b": 1, "Waits": 1, "c": 1, "Other": 1}


def test_parents_are_right_or_absent(place: Place) -> None:
    """Nested calls, tasks, threads, pairs and generators: the right parent, or none."""
    place.run_program("wrappers/parents_right_or_absent")
    place.wait_for_end()
    tools = {name: place.lines(name) for name in ("root", "middle", "leaf", "task", "gather")}
    root = tools["root"][0]["data"]["id"]
    assert [line["data"].get("parent") for line in tools["middle"]] == [root]
    middle = tools["middle"][0]["data"]["id"]
    assert [line["data"].get("parent") for line in tools["leaf"]] == [middle, "00000000000000aa"]
    gathered = tools["gather"][0]["data"]["id"]
    assert {line["data"].get("parent") for line in tools["task"]} == {gathered}
    assert len(tools["task"]) == 51


def test_calls_that_end_out_of_order_are_nobodys_parent_afterwards(place: Place) -> None:
    """Closed elsewhere or before what began later: ended calls have no children but their tasks."""
    place.run_program("wrappers/calls_end_out_of_order")
    place.wait_for_end()
    assert [line["data"].get("parent") for line in place.lines("leaf")] == [None] * 13


def test_calls_that_are_open_while_the_mode_changes_end_once(place: Place) -> None:
    """Begun in one mode and ended in the other, quick or not: each is counted, and whole."""
    place.write(
        "config/tool_perf_limits.yaml",
        "default_perf_points: -1\noptimization: {trigger_threshold: 0}\n",
    )
    made, stats = json.loads(place.run_program("wrappers/modes_change_while_calls_are_open"))
    assert {tool: row["count"] for tool, row in stats["tool_stats"].items()} == made
    assert_books_balance(stats)
    assert (stats["lost"], stats["in_flight"], stats["faults"]) == ({}, 0, {})
    place.wait_for_end()
    lines = [line["data"] for line in place.lines("block")]
    detailed = [data for data in lines if "params" in data]
    assert len(lines) == made["block"]
    # Whatever its end, a call is recorded as it began.
    assert len(detailed) == made["block"] // 2
    assert {json.dumps(data["metadata"]) for data in detailed} == {'{"of": "block"}'}


def test_calls_of_forked_processes_have_the_parent_that_waits_for_them_or_none(
    place: Place,
) -> None:
    """Pools, forks, their children and orphans: a call is a parent as long as it is open."""
    place.run_program("wrappers/calls_of_forked_processes")
    place.wait_for_end()
    stats = place.stats()
    # The one that was killed in the middle.
    assert (stats["aborted"], stats["in_flight"], stats["lost"]) == (1, 0, {})
    known = {edge["parent"] for edge in place.ask("tree") if edge["tool"] == "leaf"}
    assert known == {None, "around", "block", "executes", "forks", "inside", "killed"} | {
        *("maps", "middle", "outside", "pair", "waits_for_process")
    }


def test_children_in_new_processes_are_known_to_their_waiting_parents(place: Place) -> None:
    """A call that waits for a child in a process of its own names it: 155 of 155."""
    place.write("tool_perf_limits.yaml", "default_perf_points: -1\n")
    place.run_program("wrappers/children_in_new_processes", SHMPERF_CONFIG="tool_perf_limits.yaml")
    place.wait_for_end()
    parents = {line["data"]["id"]: line["data"]["parent_tool"] for line in place.lines("child")}
    assert len(parents) == 155
    for name, count in (("waits_for_fork", 150), ("waits_for_process", 5)):
        found = {line["data"]["id"]: line["data"]["child_tools"] for line in place.lines(name)}
        assert len(found) == count
        for call_id, children in found.items():
            assert [parents.get(child) for child in children] == [call_id]


def test_ten_thousand_open_calls_keep_ids_and_parents(place: Place) -> None:
    """The table of open calls grows with them."""
    place.run_program("wrappers/ten_thousand_open_calls_keep")
    stats = place.stats()
    lost = sum(stats["lost"].values())
    assert stats["total_calls"] + lost == stats["begun"] == 10_000


def test_limit_zero_is_outside_the_books(place: Place) -> None:
    """A tool with limit 0 is not recorded, and its children get its caller as parent."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {silent: 0}\n")
    place.run_program("wrappers/limit_zero_outside_books")
    assert set(place.stats()["tool_stats"]) == {"root", "leaf"}
    place.wait_for_end()
    assert place.lines("leaf")[0]["data"]["parent"] == place.lines("root")[0]["data"]["id"]


def test_interruptions_leave_books_context_and_results(place: Place) -> None:
    """Handlers that raise and call tools themselves, at any instant: each call counts once."""
    out = place.run_program("wrappers/interruptions_leave_books_context_results")
    assert out == "fine\n"


def test_recursion_limit_and_finalisers_are_survived(place: Place) -> None:
    """A RecursionError is the tool's own; tools called while collecting garbage count."""
    place.run_program("wrappers/recursion_limit_finalisers_survived")


def test_long_records_grow_and_travel(place: Place) -> None:
    """Parameters of any size arrive whole in optimization mode, and rings grow for bursts."""
    place.run_program("wrappers/long_records_grow_travel")
    place.wait_for_end()
    sizes = [len(line["data"].get("params", {}).get("text", "")) for line in place.lines("tool")]
    assert sizes[-5:] == [10, 300, 5_000, 60_000, 3_000_000]


@pytest.mark.parametrize("slots", [4, 16, 64])
def test_long_records_are_whole_when_a_ring_is_replaced_in_their_middle(
    place: Place, slots: int
) -> None:
    """Parts and end of a record lie in one ring: no parameters are lost while rings grow."""
    place.write(
        "tool_perf_limits.yaml", f"default_perf_points: -1\nring: {{first_slots: {slots}}}\n"
    )
    place.run_program(
        "wrappers/long_records_whole_while_rings_grow", SHMPERF_CONFIG="tool_perf_limits.yaml"
    )
    place.wait_for_end()
    shown = [line["data"].get("p") for name in ("plainly", "awaited") for line in place.lines(name)]
    assert len(shown) == 334 * 3
    assert "{}" not in shown
    whole = [line["data"]["params"] for line in place.lines("plainly") if "params" in line["data"]]
    assert sorted(len(params["text"]) for params in whole) == list(range(0, 3000, 9))


def test_ring_that_a_hole_has_stopped_is_replaced_at_the_budget(place: Place) -> None:
    """A position that a debugger cost stops its ring, and not the records of all later calls."""
    place.write("tool_perf_limits.yaml", "ring: {budget_bytes: 1048576, first_slots: 1024}\n")
    place.run_program(
        "wrappers/ring_hole_has_stopped_replaced",
        SHMPERF_CONFIG="tool_perf_limits.yaml",
    )
    place.wait_for_end()
    found = place.stats()
    assert found["total_calls"] == 1501
    assert not any(found["lost"].values())


def test_functions_sent_by_value_are_tracked_there(place: Place) -> None:
    """What cloudpickle sends of a main program or a notebook records in the other process, too."""
    called = PROGRAMS / "wrappers/called_from_values.py"
    place.run_program("wrappers/functions_sent_by_value_tracked", str(called))
    stats = place.stats()
    tools = stats["tool_stats"]
    names = {"leaf", "renamed", "steps", "waits", "pours", "chosen", "Mine", "block"}
    assert {name: row["count"] for name, row in tools.items()} == {
        **dict.fromkeys(names, 4),
        "fail": 1,
    }
    assert tools["fail"]["errors"] == 1
    assert stats["lost"] == {}
    assert {line["data"]["p"] for line in place.lines("renamed")} == {'{"x":4}'}
    assert {line["data"]["p"] for line in place.lines("chosen")} == {'{"x":3}'}
    assert len({line["data"]["pid"] for line in place.lines("leaf")}) == 2
    parents = {(node["parent"], node["tool"]) for node in place.ask("tree")}
    assert {("renamed", "leaf"), ("Mine", "renamed"), ("block", "steps")} <= parents


def test_only_our_own_objects_can_be_pickled_by_it() -> None:
    """Context variables, encoders and layouts of others are refused as before."""
    for other in (ContextVar("other"), msgspec.msgpack.Encoder(), Struct("<Q")):
        with pytest.raises(TypeError, match="cannot pickle"):
            pickle.dumps(other)
