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

TOOLS = """
    import asyncio, contextvars, functools, multiprocessing, os, signal, sys, threading, time
    import shmperf
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
    from multiprocessing.pool import ThreadPool

    @shmperf.track
    def leaf(x):
        return x

    def work(x, y=0):
        return leaf(x) + y

    def fail(x):
        raise LookupError(x)

    def die(x):
        os.kill(os.getpid(), signal.SIGKILL)

    @shmperf.track(params=["x"])
    def chosen(x, password=None):
        return x

    @shmperf.track("renamed")
    def original(x):
        return x

    class Thing:
        def method(self, x):
            return x

        @staticmethod
        def still(x):
            return x

        def __call__(self, x):
            return x
"""
INSTRUMENT = f"""
    shmperf.instrument{NAMES}
"""


def run_main(place: Place, body: str, *, optimize: bool = False, **environ: str) -> str:
    """Run what stands in ``main``, a call, with all three switched on; what it prints."""
    lines = "".join(f"    {line}\n" for line in body.strip("\n").splitlines())
    main = f"@shmperf.track\ndef main():\n{lines}\n" + 'if __name__ == "__main__":\n    main()\n'
    return run(place, TOOLS, INSTRUMENT, main, optimize=optimize, **environ)


@pytest.mark.parametrize("method", METHODS)
def test_a_pool_s_tasks_are_calls(place: Place, method: str) -> None:
    """Every way to hand a task to a Pool is a call a task, beneath who handed it over."""
    run_main(
        place,
        f"""
with multiprocessing.get_context("{method}").Pool(2) as pool:
    assert pool.apply(work, (1,), {{"y": 2}}) == 3
    assert pool.apply_async(func=work, args=(1, 2)).get() == 3
    assert pool.map(work, range(5)) == pool.map_async(work, range(5)).get() == [0, 1, 2, 3, 4]
    assert pool.starmap(work, [(1, 2)]) == pool.starmap_async(work, [(1, 2)]).get() == [3]
    assert list(pool.imap(work, range(3))) == list(pool.imap(work, range(3), 2)) == [0, 1, 2]
    assert sorted(pool.imap_unordered(work, iter(range(3)))) == [0, 1, 2]
""",
    )
    assert counts(place) == {"main": (1, 0), "work": (23, 0), "leaf": (23, 0)}
    assert edges(place) == {(None, "main", 1), ("main", "work", 23), ("work", "leaf", 23)}
    assert {call["pid"] for call in calls(place, "work")}.isdisjoint({only(place, "main")["pid"]})
    assert calls(place, "work")[0]["p"] == {"x": 1, "y": 2}


@pytest.mark.parametrize("method", METHODS)
def test_a_process_executor_s_tasks_are_calls(place: Place, method: str) -> None:
    """Submitted and mapped tasks are calls, mapped ones one each, whatever the chunks are."""
    run_main(
        place,
        f"""
context = multiprocessing.get_context("{method}")
with ProcessPoolExecutor(2, mp_context=context) as executor:
    assert executor.submit(work, 1, y=2).result() == 3
    assert list(executor.map(work, range(5), range(5))) == [0, 2, 4, 6, 8]
    assert list(executor.map(work, range(5), chunksize=2)) == [0, 1, 2, 3, 4]
""",
    )
    assert counts(place) == {"main": (1, 0), "work": (11, 0), "leaf": (11, 0)}
    assert edges(place) == {(None, "main", 1), ("main", "work", 11), ("work", "leaf", 11)}
    assert calls(place, "work")[0]["p"] == {"x": 1, "y": 2}


def test_tasks_in_threads_are_calls(place: Place) -> None:
    """ThreadPoolExecutor, ThreadPool, to_thread and run_in_executor hand tasks over as calls."""
    run_main(
        place,
        """
with ThreadPoolExecutor(2) as executor, ThreadPool(2) as pool:
    assert executor.submit(work, 1, y=2).result() == 3
    assert list(executor.map(work, range(5))) == pool.map(work, range(5)) == [0, 1, 2, 3, 4]
    context = contextvars.copy_context()
    assert executor.submit(context.run, work, 1, 2).result() == 3

    async def use():
        loop = asyncio.get_running_loop()
        return [await asyncio.to_thread(work, 1), await loop.run_in_executor(executor, work, 1)]

    assert asyncio.run(use()) == [1, 1]
""",
    )
    assert counts(place) == {"main": (1, 0), "work": (14, 0), "leaf": (14, 0)}
    assert edges(place) == {(None, "main", 1), ("main", "work", 14), ("work", "leaf", 14)}


@pytest.mark.parametrize("make", ["ThreadPoolExecutor(2)", "ProcessPoolExecutor(2)"])
def test_a_tracked_function_is_counted_once(place: Place, make: str) -> None:
    """A decorated function handed to an executor is one call, by whatever name or way."""
    run_main(
        place,
        f"""
with {make} as executor:
    assert executor.submit(leaf, 1).result() == 1
    assert executor.submit(functools.partial(leaf, x=2)).result() == 2
    assert executor.submit(shmperf.propagate(leaf), 3).result() == 3
    assert executor.submit(original, 4).result() == 4
    assert executor.submit(chosen, 5, password="hidden").result() == 5
""",
    )
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
    run_main(
        place,
        """
def plain(depth):
    return executor.submit(plain, depth - 1).result() if depth else "done"

@shmperf.track
def tracked(depth):
    return executor.submit(tracked, depth - 1).result() if depth else "done"

with ThreadPoolExecutor(4) as executor:
    assert executor.submit(plain, 2).result() == tracked(2) == "done"
""",
    )
    assert counts(place) == {"main": (1, 0), "plain": (3, 0), "tracked": (3, 0)}
    assert ("main", "plain", 1) in edges(place)
    chain = {call["id"]: call.get("parent") for call in calls(place, "tracked")}
    assert len(set(chain.values())) == 3


def test_every_kind_of_callable_has_a_name(place: Place) -> None:
    """Methods, classes, builtins, partials and objects are named as people would name them."""
    run_main(
        place,
        """
thing = Thing()
with multiprocessing.Pool(1) as pool:
    for function in (thing.method, Thing.still, thing, functools.partial(Thing.method, thing)):
        assert pool.apply(function, (7,)) == 7
    assert pool.map(Thing.method.__get__(thing), [7]) == [7]
    assert pool.starmap(Thing.method, [(thing, 7)]) == [7]
    assert pool.apply(int, ("7",)) == pool.apply(abs, (-7,)) == 7
""",
    )
    expected = {"main": 1, "method": 4, "still": 1, "Thing": 1, "int": 1, "abs": 1}
    assert counts(place) == {name: (number, 0) for name, number in expected.items()}
    assert [call["p"] for call in calls(place, "method")] == [{"x": 7}] * 4


@pytest.mark.parametrize(
    ("make", "submit"),
    [
        ("multiprocessing.Pool(1)", "apply(fail, (5,))"),
        ("ProcessPoolExecutor(1)", "submit(fail, 5).result()"),
        ("ThreadPoolExecutor(1)", "submit(fail, 5).result()"),
    ],
)
def test_an_exception_is_an_outcome_and_passes_on(place: Place, make: str, submit: str) -> None:
    """The submitter gets the task's own exception, and the call is an error of its class."""
    run_main(
        place,
        f"""
with {make} as pool:
    try:
        pool.{submit}
    except LookupError as error:
        print(error.args)
""",
    )
    assert counts(place) == {"main": (1, 0), "fail": (1, 1)}
    assert only(place, "fail")["err"] == "LookupError"


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_worker_leaves_an_aborted_call(place: Place, method: str) -> None:
    """BrokenProcessPool is an aborted call of the task that ran, and no call of what did not."""
    run_main(
        place,
        f"""
from concurrent.futures.process import BrokenProcessPool
context = multiprocessing.get_context("{method}")
with ProcessPoolExecutor(1, mp_context=context) as executor:
    found = [executor.submit(work, 1), executor.submit(die, 2), executor.submit(work, 3)]
    assert found[0].result() == 1
    assert all(isinstance(one.exception(), BrokenProcessPool) for one in found[1:])
""",
    )
    stats = place.stats()
    assert (stats["aborted"], stats["tool_stats"]["die"]["aborted"]) == (1, 1)
    assert stats["tool_stats"]["work"]["count"] == 1
    assert only(place, "die")["status"] == "aborted"
    assert only(place, "die")["parent"] == only(place, "main")["id"]


def test_a_killed_worker_of_a_pool_leaves_an_aborted_call(place: Place) -> None:
    """The pool goes on with another worker; what the killed one ran is aborted."""
    run_main(
        place,
        """
with multiprocessing.Pool(1) as pool:
    pool.apply_async(die, (1,))
    assert pool.apply(work, (2,)) == 2
""",
    )
    stats = place.stats()
    assert (stats["aborted"], stats["tool_stats"]["die"]["aborted"]) == (1, 1)
    assert stats["tool_stats"]["work"]["count"] == 1


def test_waiting_is_told_apart_from_running(place: Place) -> None:
    """A task that waits behind another has the wait as metadata, and not in its duration."""
    run_main(
        place,
        """
def hold(_):
    begun.set()
    assert go.wait(float(os.environ["TESTS_DEADLINE_S"]))

begun, go = threading.Event(), threading.Event()
with ThreadPoolExecutor(1) as executor:
    first = executor.submit(hold, 0)
    second = executor.submit(work, 1)
    assert begun.wait(float(os.environ["TESTS_DEADLINE_S"]))
    before = time.perf_counter()
    while time.perf_counter() < before + 0.05:
        pass
    go.set()
    second.result()
""",
        optimize=True,
    )
    held, waited = only(place, "hold"), only(place, "work")
    assert waited["metadata"]["source"] == "concurrent.futures"
    assert waited["metadata"]["queued_ms"] >= max(50, waited["duration_ms"])
    assert held["duration_ms"] >= 50


def test_a_worker_s_own_current_call_is_no_parent(place: Place) -> None:
    """A worker forked within a call has it as current; tasks handed over outside have no parent."""
    run(
        place,
        TOOLS,
        INSTRUMENT,
        """
        with shmperf.call("founding"):
            pool = multiprocessing.get_context("fork").Pool(1)
        with pool:
            assert pool.apply(work, (1,)) == 1
        """,
    )
    assert "parent" not in only(place, "work")


def test_threads_are_calls_beneath_who_started_them(place: Place) -> None:
    """A target, a timer's function and a run of a subclass are calls; tracked targets once."""
    run_main(
        place,
        """
class Special(threading.Thread):
    def run(self):
        leaf(1)

def own():
    leaf(2)

replaced = threading.Thread()
replaced.run = own
started = [
    threading.Thread(target=work, args=(1,), kwargs={"y": 2}),
    threading.Thread(target=leaf, args=(3,)),
    threading.Thread(target=shmperf.propagate(leaf), args=(4,)),
    threading.Timer(0.01, work, (5,)),
    threading.Thread(target=None),
    replaced,
    Special(),
]
for thread in started:
    thread.start()
for thread in started:
    thread.join()
print([sorted(vars(thread).keys() & {"run"}) for thread in started])
""",
    )
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
    out = run_main(
        place,
        """
threading.excepthook = lambda found: print(repr(found.exc_value))
thread = threading.Thread(target=fail, args=(1,))
thread.start()
thread.join()
try:
    thread.start()
except RuntimeError as error:
    print(error, "run" in vars(thread))
""",
    )
    assert out.splitlines() == ["LookupError(1)", "threads can only be started once False"]
    assert counts(place) == {"main": (1, 0), "fail": (1, 1)}


def test_threads_of_pools_are_left_alone(place: Place) -> None:
    """With `threading` alone, neither workers nor managers of pools and executors are calls."""
    run(
        place,
        TOOLS,
        """
        def main():
            shmperf.instrument("threading")
            queue = multiprocessing.Queue()
            with ThreadPoolExecutor(1) as executor, ProcessPoolExecutor(1) as processes:
                with multiprocessing.Pool(1) as pool, ThreadPool(1) as threads:
                    for found in (executor.submit(leaf, 1), processes.submit(leaf, 1)):
                        assert found.result() == 1
                    assert pool.apply(leaf, (1,)) == threads.apply(leaf, (1,)) == 1
            queue.put(1)
            queue.get()

            async def use():
                await asyncio.to_thread(leaf, 1)

            asyncio.run(use())

        if __name__ == "__main__":
            main()
        """,
    )
    assert counts(place) == {"leaf": (5, 0)}


def test_tasks_in_flight_go_on_when_it_is_switched_off(place: Place) -> None:
    """What was handed over before is recorded, what comes after is not, and nobody notices."""
    run(
        place,
        TOOLS,
        """
        def hold(x):
            assert go.wait(float(os.environ["TESTS_DEADLINE_S"]))
            return x

        go = threading.Event()
        with ThreadPoolExecutor(2) as executor:
            shmperf.instrument("concurrent.futures")
            shmperf.instrument("concurrent.futures")
            before = [executor.submit(hold, at) for at in range(4)]
            shmperf.uninstrument("concurrent.futures")
            after = [executor.submit(hold, at) for at in range(4)]
            go.set()
            assert [one.result() for one in (*before, *after)] == [0, 1, 2, 3] * 2
        """,
    )
    assert counts(place) == {"hold": (4, 0)}


@pytest.mark.parametrize("make", ["multiprocessing.Pool(1)", "ProcessPoolExecutor(1)"])
def test_what_does_not_pickle_fails_as_before(place: Place, make: str) -> None:
    """The submitter gets the same error, with the switch on and off."""
    out = run(
        place,
        TOOLS,
        f"""
        def reason():
            try:
                with {make} as pool:
                    list(pool.map(lambda x: x, [1]))
            except Exception as error:
                return type(error).__name__, str(error).partition(" at ")[0]

        first = reason()
        shmperf.instrument()
        print(first == reason(), first)
        """,
    )
    assert out.startswith("True (")
    assert "local object" in out


def test_spawned_workers_need_nothing_patched(place: Place) -> None:
    """What a task brings along is all that a worker needs: no switch is on there."""
    place.write(
        "there.py",
        """
        from concurrent.futures import ThreadPoolExecutor
        from shmperf import instrument, uninstrument

        def switched_on():
            return uninstrument("celery"), ThreadPoolExecutor.submit.__module__
        """,
    )
    out = run(
        place,
        """
        import multiprocessing, shmperf
        from there import switched_on
        if __name__ == "__main__":
            shmperf.instrument("multiprocessing", "concurrent.futures")
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(*pool.apply(switched_on))
        """,
    )
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
    task, _ = hand_over("multiprocessing", value)
    assert type(task) is Task
    found = pickle.loads(pickle.dumps(task))  # noqa: S301  our own
    assert (found.source, found.origin) == (task.source, task.origin)
    assert found.function == value
    assert hand_over("multiprocessing", found) == (found, ())


def test_what_can_t_be_called_is_handed_on() -> None:
    """It fails where it would have failed."""
    assert hand_over("concurrent.futures", 5) == (5, ())
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
    run_main(
        place,
        """
def outer(x):
    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(work, range(x)))

globals()["outer"], outer.__qualname__ = outer, "outer"
with multiprocessing.get_context("fork").Pool(4) as pool:
    assert pool.map(outer, [50] * 8) == [1225] * 8
""",
    )
    assert counts(place) == {"main": (1, 0), "outer": (8, 0), "work": (400, 0), "leaf": (400, 0)}
    assert ("outer", "work", 400) in edges(place)
