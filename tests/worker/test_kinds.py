"""Every kind of callable and of method is recorded, and stays what it is, or is refused."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from shmperf.storage.history import read
from tests.support import Place

# What each kind in the program is called where it is recorded, beside those that are called by the
# name that they have there.
NAMES = {
    "named partial": "plain",
    "async partial": "coroutine",
    "object's partial": "AsyncObject",
    "partial of partial": "generator",
    "abstract": "method",
}
BINDINGS = ("early", "late", "beside", "heir", "named", "instance")


@pytest.mark.parametrize("mode", ["normal", "optimization"])
def test_every_kind_of_callable_is_recorded_and_stays_as_it_is(place: Place, mode: str) -> None:
    """Two calls of each are two records under its name and caller; it can do what it could."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    kinds = json.loads(place.run_program("wrappers/kinds_of_callables", mode))
    wrong = {kind: told for kind, told in kinds.items() if told["lost"] or not told["same"]}
    assert not wrong
    assert {kind for kind, told in kinds.items() if told["pickled"] is False} == set()
    lambdas = [name for name in place.stats()["tool_stats"] if "lambda" in name]
    (named,) = lambdas
    assert named.startswith("<lambda> program0.py:")
    expected = Counter(NAMES.get(kind, kind) for kind in kinds for _ in range(2))
    expected[named] = expected.pop("lambda")
    place.wait_for_end()
    found = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert found == {**expected, "outer": len(kinds)}
    outer = set(place.ids("outer"))
    parent = "parent" if mode == "normal" else "parent_tool"
    for line in read(place.storage):
        assert line["tool"] == "outer" or line["data"][parent] in outer, line


def test_calls_go_on_where_what_they_return_is_awaited(place: Place) -> None:
    """Objects, partials and decorated functions that hand out a coroutine are timed to its end."""
    place.run_program("wrappers/kinds_of_callables", "normal")
    tools = place.stats()["tool_stats"]
    for name in ("coroutine", "AsyncObject", "innermost", "HandingOut", "async_generator"):
        assert tools[name]["min_duration_s"] > 0.001, name


def test_methods_of_every_kind_are_recorded_and_stay_as_they_are(place: Place) -> None:
    """Whatever kind, wherever from, in whatever class, in both modes; what can't be is told."""
    program = place.start_program("wrappers/methods_of_every_kind")
    told = json.loads(place.finish(program))
    assert told["lost"] == {}
    assert [line.partition(",")[0] for line in told["refused"]] == [
        "Read.execute is a property",
        "found int",
        "found str",
    ]
    errors = program.error_text  # type: ignore[attr-defined]  # see Place.finish
    assert "not recorded: Read.execute is a property" in errors
    assert "not recorded: <class 'abc.Wrong'>: AttributeError: never" in errors
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    bodies = {name.rpartition(" ")[0] for name in counts if name.endswith(" early")}
    assert len(bodies) == 13
    for body in bodies:
        for binding in BINDINGS:
            assert counts.pop(f"{body} {binding}") == 2, (body, binding)
    once = "Around Attrs AttrsHeir BelowSilent Concrete Implements Mapping Pair Plain RED Slotted"
    assert counts == {
        **dict.fromkeys([*once.split(), "SlottedHeir"], 1),
        "First": 3,
        "Diamond": 3,
        "Twice": 2,
    }


def test_async_generators_left_open_tell_nothing(place: Place) -> None:
    """A loop that ends closes each once; one that nobody holds any more is closed, too."""
    assert place.run_program("wrappers/async_generators_left_open") == ""
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"steps": 3, "Tool": 1}


def test_generators_end_as_they_do_untracked(place: Place) -> None:
    """Closed or thrown into: the same result or exception, which nothing of ours keeps alive."""
    assert json.loads(place.run_program("wrappers/generators_as_they_are")) == {}
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"tracked": 18, "Tool": 18}


def test_methods_know_the_class_that_was_made_anew(place: Place) -> None:
    """attrs with slots exchanges a class: super() goes on in tracked methods of every kind."""
    assert place.run_program("wrappers/classes_made_anew") == ""
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    methods = ("coroutine", "generator", "async_generator", "chosen", "of_class", "twice", "inner")
    assert counts == {"plain": 2, **dict.fromkeys(methods, 1), "Own": 4, "Heir": 4}


def test_odd_classes_are_tracked_or_as_they_are(place: Place) -> None:
    """Whatever a name, a metaclass or an exception says of itself, nothing of ours asks it."""
    assert place.run_program("wrappers/odd_classes") == ""
    found = place.stats()
    counts = {name: (row["count"], row["errors"]) for name, row in found["tool_stats"].items()}
    failed = dict.fromkeys(("raises", "steps", "is_awaited"), (1, 1))
    assert counts == {"search": (2, 0), "Closed": (1, 0), "signed": (3, 0), **failed}
    assert found["lost"] == found["faults"] == {}


def test_what_would_not_be_itself_is_refused_with_what_to_do(place: Place) -> None:
    """Classes and descriptors are a TypeError where they are decorated; a command is recorded."""
    lines = place.run_program("wrappers/refused_callables").splitlines()
    advice = [
        "expected a callable",
        "expected a callable",
        "use track_class(method=…)",
        "use track_class(method=…)",
        "put @track below @property",
        "put @track below @cached_property",
        "put @track below @singledispatchmethod",
        "put @track below what made it",
        "put @track on its commands",
        "put @track below prefect's decorator",
    ]
    assert lines.pop(0) == "4"
    for line, words in zip(lines, advice, strict=True):
        assert line.startswith("track: found ")
        assert line.endswith(words)
    assert place.stats()["tool_stats"]["command"]["count"] == 2


def test_calls_through_the_chain_keep_the_kind_of_the_method(place: Place) -> None:
    """``intercept_class`` sees to methods of every kind as ``track_class`` does."""
    place.run_program("wrappers/intercepted_methods")
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    kinds = ("function", "coroutine", "generator", "async_generator", "static", "made", "completed")
    assert counts == dict.fromkeys(kinds, 1)
