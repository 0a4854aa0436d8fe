"""Calls struck in the middle: by signals, recursion, collections of garbage, halves of imports."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from typing import Any

import pytest

from shmperf.compiled.chosen import hot
from tests.support import IN_FULL, Place, assert_books_balance

KEEP_ALL = "default_perf_points: -1\n"
KINDS = (
    *("plain", "named", "long", "huge", "fails", "chosen"),
    *("coroutine", "in a loop", "failing in a loop", "generator", "left early", "async generator"),
    *("talked to", "async talked to", "raised inside", "dropped"),
    *("block", "pair", "chain", "long chain", "failing chain", "awaited chain"),
    *("watched", "failing watched"),
)
# Where a call begun in one place is ended in another: struck before its first line, that has none.
SECOND_HALVES = {
    "block": "_exit",
    "pair": "end_tool_call",
    "watched": "watch",
    "failing watched": "watch",
}
STRUCK = "interruptions/struck_at_every_instruction"
# Long parameters are encoded by a library that can't without, and where there is no memory for an
# exception's frames on its way through a chain, CPython 3.11 crashes. A hook that has begun a call
# and finds no memory for the coroutine that ends it is a program's own.
STARVED = tuple(
    kind for kind in KINDS if not kind.endswith(("long", "huge", "ng chain", "watched"))
)
PLAIN, DETAIL = "", "optimization: {enabled: true}\n"
# No call is chosen: those that fail or take long are recorded.
SAMPLED = "sampling: {every: 1000000}\n"
# Everything on two Pythons, on the others by command: these take minutes.
IN_ALL_MODES = IN_FULL or sys.version_info[:2] in ((3, 11), (3, 13))
MODES = [PLAIN, DETAIL, SAMPLED] if IN_ALL_MODES else [PLAIN]


def outcome(place: Place, name: str, config: str = PLAIN) -> tuple[int, dict[str, Any]]:
    """The calls that a program made in its own opinion, and its statistics, which balance."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL + config)
    out = place.run_program(f"interruptions/{name}")
    made, stats = json.loads(out)
    assert_books_balance(stats)
    return made, stats


def test_calls_in_signal_handlers_disturb_no_call(place: Place) -> None:
    """Handlers that strike while a call is finished finish it themselves; every call is counted."""
    made, stats = outcome(
        place,
        "calls_signal_handlers_disturb_no",
    )
    assert stats["begun"] == made
    assert stats["in_flight"] == 0


@pytest.mark.parametrize("config", [PLAIN, DETAIL])
def test_calls_in_collections_of_garbage_are_counted(place: Place, config: str) -> None:
    """Finalisers and callbacks that call tools in the middle of an allocation crash nothing."""
    made, stats = outcome(
        place,
        "calls_collections_garbage_counted",
        config,
    )
    assert stats["begun"] == made
    assert stats["in_flight"] == 0


def test_what_a_signal_handler_raises_in_a_collection_reaches_the_program(place: Place) -> None:
    """A handler's exception is dropped only where Python code runs inside the collection."""
    place.run_program("interruptions/what_signal_handler_raises_collection")


@pytest.mark.parametrize("config", [PLAIN, DETAIL])
def test_what_a_signal_handler_raises_in_foreign_code_reaches_the_program(
    place: Place, config: str
) -> None:
    """A time limit that ends within a ``repr``, a property or a hook is not tracking's to drop."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL + config)
    out = place.run_program("interruptions/what_signal_handler_raises_foreign_code")
    found, ran, stats = json.loads(out)
    dropped = {name.partition(":")[0] for name, (passed, _) in found.items() if not passed}
    # Metadata and what a failed call says are looked at in detail alone.
    assert dropped == ({"metadata", "error"} if config == PLAIN else set())
    assert [name for name, (_, current) in found.items() if current] == []
    assert_books_balance(stats)
    assert stats["in_flight"] == stats["aborted"] == 0
    # The chain's call has begun when its parameters are looked at; no other one has.
    struck = {"in chain": sum(name.startswith("chain:") for name in found)}
    recorded = {tool: row["count"] for tool, row in stats["tool_stats"].items()}
    assert recorded == ran | struck


@pytest.mark.parametrize("config", [PLAIN, DETAIL, SAMPLED])
def test_no_room_for_a_frame_leaves_no_call_open(place: Place, config: str) -> None:
    """A call that ends where the recursion limit forbids ending it is ended a little later."""
    made, stats = outcome(
        place,
        "no_room_for_frame_leaves",
        config,
    )
    assert stats["in_flight"] == 0
    assert stats["tool_stats"]["deep"]["errors"] >= made - sum(stats["lost"].values())


def test_interruption_of_an_end_the_long_way_is_taken_up(place: Place) -> None:
    """Struck at the first instruction of its end, a call in detail is still ended."""
    made, stats = outcome(
        place,
        "interruption_end_long_way_taken",
        DETAIL,
    )
    assert (stats["begun"], stats["total_calls"], stats["in_flight"]) == (made, made, 0)


@pytest.mark.parametrize("config", MODES)
@pytest.mark.parametrize("part", range(4))
def test_call_struck_anywhere_ends_once(place: Place, config: str, part: int) -> None:
    """Whichever instruction of ours a handler raises at, the call ends and is current no more."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL + config)
    kinds = KINDS[part::4]
    struck, stats = json.loads(place.run_program(STRUCK, "only", *kinds))
    assert set(struck) == set(kinds)
    # A call without a record hardly calls anything, and one in C lets no handler in at all.
    least = 0 if hot is not None else 2 if config == SAMPLED else 10
    assert min(strikes for strikes, _, _ in struck.values()) >= least
    wrong = {
        (kind, where.split()[1])
        for kind, (_, left_open, left_current) in struck.items()
        for where in left_open + left_current
    }
    assert wrong <= set(SECOND_HALVES.items())
    assert_books_balance(stats)
    assert stats["in_flight"] == sum(len(left_open) for _, left_open, _ in struck.values())


@pytest.mark.parametrize("action", ["raise", "call"])
def test_first_call_struck_anywhere_starts_all_the_same(place: Place, action: str) -> None:
    """Whichever instruction of a first call a handler gets into, the process goes on recording."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL)
    out = place.run_program(STRUCK, action, "1" if IN_FULL else "5")
    strikes, wrong, made, stats = json.loads(out)
    for half_done in place.runtime.glob("shmperf/*/.new-*"):
        # What is struck as it comes in leaves something for a minute; that is over now.
        os.utime(half_done, (0, 0))
    assert strikes > 100
    assert wrong == []
    assert_books_balance(stats)
    assert stats["in_flight"] == stats["aborted"] == 0
    # What raises may do so between a call's begin and its tool.
    assert stats["begun"] == made or (action == "raise" and stats["begun"] > made)


# Other versions have not been tried: the interpreter itself must survive it.
STARVING = pytest.mark.skipif(
    sys.version_info[:2] != (3, 11) or importlib.util.find_spec("_testcapi") is None,
    reason="lets allocations fail by a module of CPython's own tests, on 3.11",
)


@pytest.mark.parametrize("config", MODES)
def test_calls_of_ours_that_fail_are_not_the_tools_affair(place: Place, config: str) -> None:
    """Whichever of our calls fails, the tool runs once and its result or exception is its own."""
    failed_nowhere(place, "fails", KINDS, config)


@STARVING
@pytest.mark.parametrize("config", [PLAIN, SAMPLED])
def test_allocations_of_ours_that_fail_are_not_the_tools_affair(place: Place, config: str) -> None:
    """Whichever allocation of ours fails, the tool runs once and gives what it gives."""
    failed_nowhere(place, "starves", STARVED, config)


def failed_nowhere(place: Place, what: str, kinds: tuple[str, ...], config: str = PLAIN) -> None:
    """Let everything of ours fail in turn in calls of these kinds."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL + config)
    found, stats = json.loads(place.run_program(STRUCK, what, *kinds))
    assert [name for name, (_, wrong) in found.items() if wrong] == []
    assert_books_balance(stats)
    assert stats["in_flight"] == 0


@pytest.mark.parametrize("what", ["fail", pytest.param("memory", marks=STARVING)])
def test_first_call_that_fails_is_not_the_tools_affair(place: Place, what: str) -> None:
    """Whatever fails in finding, founding and joining a session, the tool runs and so do others."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL)
    strikes, wrong, _, stats = json.loads(place.run_program(STRUCK, what, "3"))
    for half_done in place.runtime.glob("shmperf/*/.new-*"):
        os.utime(half_done, (0, 0))
    assert strikes >= 100
    assert wrong == []
    assert_books_balance(stats)


def test_nothing_to_import_or_open_turns_tracking_off(place: Place) -> None:
    """In a sandbox that refuses imports and descriptors tools run, and it is told."""
    program = place.start_program(
        "interruptions/nothing_can_be_imported_or_opened",
        "sandbox",
        OPTIMIZED_PERF_TRACKER_ENABLED="perhaps",
    )
    assert place.finish(program) == "2 3\n2\nnothing\n"
    told = program.error_text.splitlines()  # type: ignore[attr-defined]
    assert told[0].startswith("OPTIMIZED_PERF_TRACKER_ENABLED: found 'perhaps'")
    assert told[-1].startswith("tracking is off: ")


def test_exceptions_have_no_context_of_ours(place: Place) -> None:
    """First calls, long parameters and rows that run out leave no trace in what a tool raises."""
    out = place.run_program("interruptions/nothing_can_be_imported_or_opened", "contexts")
    assert out == "None None None None\n"


def test_library_that_can_not_be_imported_turns_tracking_off(place: Place) -> None:
    """What an interrupted import left of PyYAML costs the recording, never the tool."""
    place.write("config/tool_perf_limits.yaml", KEEP_ALL)
    place.write("broken/yaml.py", "raise AttributeError('half of a module')\n")
    program = place.start_program("interruptions/library_can_not_be_imported")
    assert place.finish(program) == "2 3 off\n"
    assert program.error_text.splitlines() == [  # type: ignore[attr-defined]
        "tracking is off: PyYAML can't be imported: half of a module"
    ]


def test_what_strikes_while_a_line_is_told_reaches_the_program(place: Place) -> None:
    """A time limit that ends in the middle of our line to the program is not the line's to drop."""
    assert place.run_program("errors/struck_while_told") == "a line\narrived\n"
