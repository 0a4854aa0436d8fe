"""Calls that hooks report: begun, recognised, ended anywhere, and never in a tool's way."""

from __future__ import annotations

import pytest

from shmperf.integrations.observer import named_params
from shmperf.shm.record import Outcome
from shmperf.worker.context import Seen
from shmperf.worker.outcome import status_named
from tests.support import Place

from .frameworks import calls, counts, edges, only, run


def test_the_same_tool_directly_beneath_is_the_same_call(place: Place) -> None:
    """Every kind of decorated function is recognised beneath a hook's call of its tool."""
    run(
        place,
        "frameworks/observer",
        "same_tool_directly_beneath_same_call",
    )
    names = ("tool", "async_tool", "chosen", "steps", "Base")
    assert counts(place) == dict.fromkeys(names, (3, 0))
    assert {
        one["parent"] for name in names for one in calls(place, name) if "parent" in one
    } == set()


@pytest.mark.parametrize("mode", ["normal", "optimization"])
def test_everything_else_is_a_call_of_its_own(place: Place, mode: str) -> None:
    """Recursion, another tool's name, a second call and a call further down are calls."""
    run(
        place,
        "frameworks/observer",
        "everything_else_call_its_own",
        optimize=mode == "optimization",
    )
    assert counts(place) == {"tool": (7, 0), "another": (3, 0)}
    assert edges(place) == {
        (None, "tool", 2),
        ("tool", "tool", 3),
        (None, "another", 2),
        ("another", "another", 1),
        ("another", "tool", 2),
    }


def test_two_hooks_and_a_decorator_are_one_call(place: Place) -> None:
    """Whoever comes first records the call, in any order; what they know is kept together."""
    run(
        place,
        "frameworks/observer",
        "two_hooks_decorator_one_call",
        optimize=True,
    )
    assert counts(place) == {"tool": (2, 0), "outside": (2, 0)}
    assert edges(place) == {(None, "tool", 2), (None, "outside", 1), ("outside", "outside", 1)}
    found = sorted(calls(place, "tool"), key=lambda call: call["start"])
    assert [call["metadata"] for call in found] == [
        {"source": "one", "call_id": "7"},
        {"source": "other", "call_id": "7"},
    ]


def test_an_observers_second_look_at_one_call(place: Place) -> None:
    """A key tells two hooks of one framework from a tool that calls itself."""
    run(
        place,
        "frameworks/observer",
        "observers_second_look_one_call",
    )
    assert edges(place) == {(None, "tool", 1), ("tool", "tool", 1)}


def test_an_end_in_another_thread_restores_no_wrong_parent(place: Place) -> None:
    """A call that ends elsewhere is nobody's parent any more, and ends once."""
    run(
        place,
        "frameworks/observer",
        "end_another_thread_restores_no_wrong",
    )
    assert counts(place) == {"begun": (1, 1), "tool": (2, 0)}
    assert edges(place) == {(None, "begun", 1), ("begun", "tool", 1), (None, "tool", 1)}
    found = only(place, "begun")
    assert (found["status"], found["err"], found["p"]) == ("timeout", "TimeoutError", {"a": 1})


def test_a_call_carried_to_another_process(place: Place) -> None:
    """An id is believed only of this session, as a parent or as the call itself."""
    run(
        place,
        "frameworks/observer",
        "call_carried_another_process",
    )
    agent, beneath = only(place, "agent"), only(place, "beneath")
    assert beneath["parent"] == agent["id"]
    assert [call["parent"] for call in calls(place, "tool")] == [beneath["id"], agent["id"]]


def test_what_is_not_understood_is_counted_and_told_once(place: Place) -> None:
    """A hook that finds something else than it expects stands in nobody's way."""
    out = run(
        place,
        "frameworks/observer",
        "what_not_understood_counted_told_once",
    )
    assert out.split() == ["1", "True"]
    stats = place.stats()
    assert stats["faults"] == {"internal": 6}
    assert stats["tool_stats"]["watched"]["count"] == 3


@pytest.mark.parametrize("state", ["off", "limit"])
def test_calls_that_are_not_recorded_run_all_the_same(place: Place, state: str) -> None:
    """With tracking off or a limit of 0 a hook's call records nothing and hides nothing."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {unwanted: 0}\n")
    run(place, "frameworks/observer", "calls_not_recorded_run_all", state)
    expected = {"tool": (1 if state == "off" else 2, 0), "wanted": (1, 0)}
    assert {name: one for name, one in counts(place).items() if one[0]} == expected


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("TimeoutError: too late", Outcome.TIMEOUT),
        ("asyncio.exceptions.CancelledError", Outcome.CANCELLED),
        ("SoftTimeLimitExceeded: 5", Outcome.TIMEOUT),
        ("ValueError: TimeoutError", Outcome.ERROR),
        ("", Outcome.ERROR),
    ],
)
def test_an_errors_name_tells_the_outcome(text: str, status: int) -> None:
    """What is only known by its name is sorted by it."""
    assert status_named(text) is status


def test_parameters_are_named_as_the_function_names_them() -> None:
    """Positional arguments get their names; more than there are go under the rest's."""

    def function(one: int, two: int, *more: int, key: int = 0) -> None:
        pass

    assert named_params(function, (1,), {"two": 2}) == {"one": 1, "two": 2}
    assert named_params(function, (1, 2, 3, 4), {}) == {"one": 1, "two": 2, "more": (3, 4)}
    assert named_params(function, (), {"key": 1}) == {"key": 1}
    assert named_params(5, (1,), {}) == {"args": (1,)}


def test_a_call_is_seen_once_by_each_observer() -> None:
    """An ended call and another tool's are never the same call."""
    seen = Seen(64, 0, "tool", "one")
    assert not seen.is_seen_by("one", "tool")
    assert not seen.is_seen_by("other", "another")
    assert seen.is_seen_by("other", "tool")
    assert not seen.is_seen_by("other", "tool")
    assert seen.is_seen_by("third", "tool", key=5)
    assert seen.is_seen_by("third", "tool", key=5)
    assert not seen.is_seen_by("third", "tool", key=6)
    seen.is_open = False
    assert not seen.is_seen_by("fourth", "tool")
