"""Pools, executors and threads: each task is a call, where it runs, beneath who handed it over."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing.pool import Pool
from typing import Any

import pytest

import shmperf
from shmperf.integrations.task import Task, hand_over
from tests.support import Place

from .frameworks import calls, counts, edges, only, run

METHODS = ("fork", "spawn", "forkserver")
NAMES = ("multiprocessing", "concurrent.futures", "threading")


def run_main(place: Place, *case: str, optimize: bool = False) -> str:
    """Run a case within ``main``, a call, with all three switched on; what it prints."""
    return run(place, "frameworks/pools", *case, optimize=optimize)


def run_switched(place: Place, *case: str) -> str:
    """Run a case that switches by itself; what it prints."""
    return run(place, "frameworks/pools_switched", *case)


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_s_tasks_are_calls(place: Place, method: str) -> None:
    """Every way to hand a task to a Pool is a call a task, beneath who handed it over."""
    run_main(place, "tasks_of_pool", method)
    assert counts(place) == {"main": (1, 0), "work": (23, 0), "leaf": (23, 0)}
    assert edges(place) == {(None, "main", 1), ("main", "work", 23), ("work", "leaf", 23)}
    assert {call["pid"] for call in calls(place, "work")}.isdisjoint({only(place, "main")["pid"]})
    assert calls(place, "work")[0]["p"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("method", METHODS)
def test_a_process_executor_s_tasks_are_calls(place: Place, method: str) -> None:
    """Submitted and mapped tasks are calls, mapped ones one each, whatever the chunks are."""
    run_main(place, "tasks_of_process_executor", method)
    assert counts(place) == {"main": (1, 0), "work": (11, 0), "leaf": (11, 0)}
    assert edges(place) == {(None, "main", 1), ("main", "work", 11), ("work", "leaf", 11)}
    assert calls(place, "work")[0]["p"] == {"x": 1, "y": 2}


def test_tasks_in_threads_are_calls(place: Place) -> None:
    """ThreadPoolExecutor, ThreadPool, to_thread and run_in_executor hand tasks over as calls."""
    run_main(place, "tasks_in_threads")
    assert counts(place) == {"main": (1, 0), "work": (14, 0), "leaf": (14, 0)}
    assert edges(place) == {(None, "main", 1), ("main", "work", 14), ("work", "leaf", 14)}


def test_a_task_that_runs_its_function_in_a_context_is_one_call(place: Place) -> None:
    """However ``Context.run`` is handed over, what it runs is the call, beneath who did so."""
    run_main(place, "tasks_in_contexts")
    assert counts(place) == {"main": (1, 0), "leaf": (11, 0), "work": (1, 0)}
    assert edges(place) == {
        (None, "main", 1),
        ("main", "leaf", 10),
        ("main", "work", 1),
        ("work", "leaf", 1),
    }
    shown = sorted(call["p"]["x"] for call in calls(place, "leaf"))
    assert shown == list(range(1, 12))


def test_what_runs_in_a_context_that_a_task_holds_is_beneath_the_task(place: Place) -> None:
    """A copied context names who handed the task over; time is not counted for both beneath it."""
    run_main(place, "tasks_that_hold_contexts")
    assert edges(place) == {
        (None, "main", 1),
        ("main", "<lambda>", 7),
        ("main", "within", 3),
        ("<lambda>", "leaf", 7),
        ("within", "leaf", 3),
        # In the same context, once no task runs any more.
        ("main", "leaf", 1),
    }


@pytest.mark.parametrize("kind", ["ThreadPoolExecutor", "ProcessPoolExecutor"])
def test_a_tracked_function_is_counted_once(place: Place, kind: str) -> None:
    """A decorated function handed to an executor is one call, by whatever name or way."""
    run_main(place, "tracked_function_counted_once", kind)
    expected = {"main": (1, 0), "leaf": (3, 0), "renamed": (1, 0), "chosen": (1, 0)}
    assert counts(place) == expected
    assert edges(place) == {
        (None, "main", 1),
        ("main", "leaf", 3),
        ("main", "renamed", 1),
        ("main", "chosen", 1),
    }
    assert [call["p"] for call in calls(place, "leaf")] == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert only(place, "chosen")["p"] == {"x": 5}


def test_a_task_that_hands_itself_on_is_a_call_each_time(place: Place) -> None:
    """Recursion through an executor is not the same call seen again, tracked or not."""
    run_main(place, "task_hands_itself_on")
    assert counts(place) == {"main": (1, 0), "plain": (3, 0), "tracked": (3, 0)}
    assert ("main", "plain", 1) in edges(place)
    chain = {call["id"]: call.get("parent") for call in calls(place, "tracked")}
    assert len(set(chain.values())) == 3


def test_every_kind_of_callable_has_a_name(place: Place) -> None:
    """Methods, classes, builtins, partials and objects are named as people would name them."""
    run_main(place, "kinds_of_callable")
    expected = {"main": 1, "method": 4, "still": 1, "Thing": 1, "int": 1, "abs": 1}
    assert counts(place) == {name: (number, 0) for name, number in expected.items()}
    assert [call["p"] for call in calls(place, "method")] == [{"x": 7}] * 4


@pytest.mark.parametrize("kind", ["Pool", "ProcessPoolExecutor", "ThreadPoolExecutor"])
def test_an_exception_is_an_outcome_and_passes_on(place: Place, kind: str) -> None:
    """The submitter gets the task's own exception, and the call is an error of its class."""
    out = run_main(place, "exception_passes_on", kind)
    assert out == "(5,)\n"
    assert counts(place) == {"main": (1, 0), "fail": (1, 1)}
    assert only(place, "fail")["err"] == "LookupError"


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_worker_leaves_an_aborted_call(place: Place, method: str) -> None:
    """BrokenProcessPool is an aborted call of the task that ran, and no call of what did not."""
    run_main(place, "killed_worker_of_executor", method)
    stats = place.stats()
    assert (stats["aborted"], stats["tool_stats"]["die"]["aborted"]) == (1, 1)
    assert stats["tool_stats"]["work"]["count"] == 1
    assert only(place, "die")["status"] == "aborted"
    assert only(place, "die")["parent"] == only(place, "main")["id"]


def test_a_killed_worker_of_a_pool_leaves_an_aborted_call(place: Place) -> None:
    """The pool goes on with another worker; what the killed one ran is aborted."""
    run_main(place, "killed_worker_of_pool")
    stats = place.stats()
    assert (stats["aborted"], stats["tool_stats"]["die"]["aborted"]) == (1, 1)
    assert stats["tool_stats"]["work"]["count"] == 1


def test_waiting_is_told_apart_from_running(place: Place) -> None:
    """A task that waits behind another has the wait as metadata, and not in its duration."""
    run_main(place, "waiting_apart_from_running", optimize=True)
    held, waited = only(place, "hold"), only(place, "work")
    assert waited["metadata"]["source"] == "concurrent.futures"
    assert waited["metadata"]["queued_ms"] >= max(50, waited["duration_ms"])
    assert held["duration_ms"] >= 50


def test_a_worker_s_own_current_call_is_no_parent(place: Place) -> None:
    """A worker forked within a call has it as current; tasks handed over outside have no parent."""
    run_switched(place, "forked_within_call")
    assert "parent" not in only(place, "abs")


def test_threads_are_calls_beneath_who_started_them(place: Place) -> None:
    """A target, a timer's function and a run of a subclass are calls; tracked targets once."""
    run_main(place, "threads_beneath_who_started_them")
    assert counts(place) == {
        "main": (1, 0),
        "work": (2, 0),
        "leaf": (6, 0),
        "Special": (1, 0),
        "own": (1, 0),
    }
    assert edges(place) == {
        (None, "main", 1),
        ("main", "work", 2),
        ("main", "leaf", 2),
        ("main", "own", 1),
        ("main", "Special", 1),
        ("work", "leaf", 2),
        ("own", "leaf", 1),
        ("Special", "leaf", 1),
    }
    assert calls(place, "leaf")[0]


def test_what_a_thread_raises_is_an_outcome(place: Place) -> None:
    """The exception reaches the thread's hook as it would, and the call is an error."""
    out = run_main(place, "thread_raises")
    assert out.splitlines() == ["LookupError(1)", "threads can only be started once False"]
    assert counts(place) == {"main": (1, 0), "fail": (1, 1)}


def test_threads_of_pools_are_left_alone(place: Place) -> None:
    """With `threading` alone, neither workers nor managers of pools and executors are calls."""
    run_switched(place, "threads_of_pools_left_alone")
    assert counts(place) == {"leaf": (5, 0)}


def test_tasks_in_flight_go_on_when_it_is_switched_off(place: Place) -> None:
    """What was handed over before is recorded, what comes after is not, and nobody notices."""
    run_switched(place, "tasks_in_flight_go_on")
    assert counts(place) == {"hold": (4, 0)}


@pytest.mark.parametrize("kind", ["Pool", "ProcessPoolExecutor"])
def test_what_does_not_pickle_fails_as_before(place: Place, kind: str) -> None:
    """The submitter gets the same error, with the switch on and off."""
    out = run_switched(place, "what_does_not_pickle_fails_as_before", kind)
    assert out.startswith("True (")
    assert "local object" in out


def test_spawned_workers_need_nothing_patched(place: Place) -> None:
    """What a task brings along is all that a worker needs: no switch is on there."""
    out = run_switched(place, "spawned_workers_need_nothing_patched")
    assert out == "[] concurrent.futures.thread\n"
    assert counts(place) == {"switched_on": (1, 0)}


@pytest.fixture
def restored() -> Iterator[None]:
    """Everything is switched off again."""
    yield
    shmperf.uninstrument(*NAMES)


def attributes() -> list[Any]:
    return [
        vars(owner).get(name)
        for owner, names in {
            Pool: ("apply", "apply_async", "map", "map_async", "starmap", "starmap_async"),
            ThreadPoolExecutor: ("submit", "map", "__init__"),
            ProcessPoolExecutor: ("submit", "map", "__init__"),
            threading.Thread: ("start", "run", "__init__"),
        }.items()
        for name in names
    ]


def test_switching_off_restores_exactly(restored: None) -> None:
    """Twice is once, and afterwards every attribute is the object that it was."""
    before = attributes()
    shmperf.instrument(*NAMES)
    during = attributes()
    shmperf.instrument(*NAMES)
    assert attributes() == during != before
    shmperf.uninstrument(*NAMES)
    assert attributes() == before


@pytest.mark.parametrize("value", [len, int, pickle.dumps])
def test_a_task_pickles_when_its_function_does(value: Callable[..., Any]) -> None:
    """A task that comes out of a pickle is the one that went in."""
    task = hand_over("multiprocessing", value)
    assert type(task) is Task
    found = pickle.loads(pickle.dumps(task))  # noqa: S301  our own
    assert (found.source, found.origin) == (task.source, task.origin)
    assert found.function == value
    assert hand_over("multiprocessing", found) is found


def test_what_can_t_be_called_is_handed_on() -> None:
    """It fails where it would have failed."""
    assert hand_over("concurrent.futures", 5) == 5
    with ThreadPoolExecutor(1) as executor, pytest.raises(TypeError, match="not callable"):
        executor.submit(5).result()  # type: ignore[arg-type]  # that is the question


def test_with_tracking_off_nothing_is_wrapped(place: Place) -> None:
    """Functions are handed over as they are."""
    place.write("tools.py", "def double(x):\n    return 2 * x\n")
    out = place.run_program(
        "pools/with_tracking_off_nothing_wrapped",
        OPTIMIZED_PERF_TRACKER_ENABLED="false",
    )
    assert out == "True\n"


def test_many_processes_and_threads_at_once(place: Place) -> None:
    """Workers that use executors of their own: every call is there, with its parent."""
    run_main(place, "many_at_once")
    assert counts(place) == {"main": (1, 0), "outer": (8, 0), "work": (400, 0), "leaf": (400, 0)}
    assert ("outer", "work", 400) in edges(place)
