"""What a tracked function, class or block is: itself, recorded."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from struct import Struct

import msgspec
import pytest

import shmperf
from tests.support import Place


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
    place.run_script(
        """
        import asyncio, pytest, shmperf
        from shmperf import track, call

        class Thing:
            @track
            def method(self, a, *rest, b=2, **more): return (a, rest, b, more)
            @track
            @classmethod
            def made(cls, a): return (cls.__name__, a)
            @staticmethod
            @track("static")
            def fixed(a): return a
        thing = Thing()
        assert thing.method(1, 5, b=3, c=4) == (1, (5,), 3, {"c": 4})
        assert Thing.made(1) == thing.made(1) == ("Thing", 1)
        assert Thing.fixed(2) == thing.fixed(2) == 2
        with pytest.raises(TypeError, match="missing 1 required"):
            thing.method()

        @track
        def fails(kind): raise kind("boom")
        for kind in (ValueError, TimeoutError, KeyboardInterrupt):
            with pytest.raises(kind, match="boom"): fails(kind)

        @track
        def numbers(n):
            got = 0
            for i in range(n):
                got += (yield i) or 0
            return got
        def outer():
            result = yield from numbers(3)
            return result
        steps = outer()
        assert [next(steps), steps.send(5), steps.send(6)] == [0, 1, 2]
        with pytest.raises(StopIteration) as stop: steps.send(7)
        assert stop.value.value == 18
        closed = numbers(9); next(closed); closed.close()
        thrown = numbers(9); next(thrown)
        with pytest.raises(KeyError): thrown.throw(KeyError())
        never = numbers(1); del never

        @track
        async def waits(n):
            await asyncio.sleep(0)
            if n < 0: raise ValueError
            return n
        @track
        async def ticks(n):
            for i in range(n):
                yield i
        async def main():
            assert await waits(3) == 3
            with pytest.raises(ValueError): await waits(-1)
            assert [i async for i in ticks(4)] == [0, 1, 2, 3]
            early = ticks(4)
            async for i in early: break
            await early.aclose()
            task = asyncio.create_task(waits(1)); task.cancel()
            with pytest.raises(asyncio.CancelledError): await task
            sleeper = asyncio.create_task(track(name="sleeper")(asyncio.sleep)(100))
            await asyncio.sleep(0); await asyncio.sleep(0); sleeper.cancel()
            with pytest.raises(asyncio.CancelledError): await sleeper
            async with call("block", key=1): await asyncio.sleep(0)
        asyncio.run(main())
        with pytest.raises(OSError):
            with call("block") as block:
                assert block.id == shmperf.current()
                raise OSError
        assert shmperf.current() is None
        """
    )
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
    place.run_script(
        """
        from shmperf import track
        @track(params=False)
        def nothing(a): return a
        @track(params=["b"])
        def chosen(a, b=2, c=3): return a
        @track(name="own", params=lambda a: {"size": len(a)})
        def sized(a): return a
        @track(params=lambda a: 1 / 0)
        def broken(a): return a
        assert [nothing(1), chosen(1, b=5), chosen(1), sized("ab"), broken(7)] == [1, 1, 1, "ab", 7]
        """
    )
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
    place.run_script(
        """
        import asyncio
        from shmperf import track_class
        class Before: pass
        @track_class
        class Tool:
            def execute(self, x): raise NotImplementedError
        class Named(Tool):
            def __init__(self, name): self.name = name
            def execute(self, x): return x + 1
        class Deeper(Named):
            def execute(self, x): return super().execute(x) * 2
        class Waits(Tool):
            async def execute(self, x): return x
        class Inherits(Named): pass
        @track_class(method="run")
        class Other:
            def run(self): return 5
        assert Named("a").execute(1) == 2
        assert Deeper("b").execute(1) == 4
        assert asyncio.run(Waits().execute(3)) == 3
        assert Inherits("c").execute(1) == 2
        assert Other().run() == 5
        """
    )
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"a": 1, "b": 1, "Waits": 1, "c": 1, "Other": 1}


def test_parents_are_right_or_absent(place: Place) -> None:
    """Nested calls, tasks, threads, pairs and generators: the right parent, or none."""
    place.run_script(
        """
        import asyncio, gc, threading
        from concurrent.futures import ThreadPoolExecutor
        from shmperf import adopt, call, current, end_tool_call, propagate, track, track_tool_call

        @track
        def leaf(): return current()
        @track
        def middle(): return leaf()
        @track
        def steps():
            yield current()
            yield current()

        with call("root") as root:
            assert current() == root.id
            middle()
            inside = []
            thread = threading.Thread(target=lambda: inside.append(current())); thread.start()
            thread.join()
            assert inside == [None]
            with ThreadPoolExecutor(1) as pool:
                assert pool.submit(current).result() is None
                assert pool.submit(propagate(current)).result() == root.id
            generator = steps()
            first = next(generator)
            assert first != root.id and current() == root.id
            assert next(generator) == first and current() == root.id
            del generator; gc.collect()
            assert current() == root.id
            pair = track_tool_call("pair", {})
            assert current() == pair
            ender = threading.Thread(target=end_tool_call, args=(pair,))
            ender.start(); ender.join()
            assert current() == root.id
            outer, inner = track_tool_call("outer", {}), track_tool_call("inner", {})
            end_tool_call(outer)
            assert current() == inner
            end_tool_call(inner)
            assert current() == root.id

        async def task(seen):
            with call("task") as mine:
                await asyncio.sleep(0)
                assert current() == mine.id
                seen.append(mine.id)
                assert await asyncio.to_thread(current) == mine.id
        async def main():
            seen = []
            async with call("gather") as gathered:
                await asyncio.gather(*(task(seen) for _ in range(50)))
                assert current() == gathered.id and len(set(seen)) == 50
                late = asyncio.create_task(task(seen))
            assert current() is None
            await late
        asyncio.run(main())
        assert current() is None
        with adopt("00000000000000aa"):
            leaf()
        """
    )
    place.wait_for_end()
    tools = {name: place.lines(name) for name in ("root", "middle", "leaf", "task", "gather")}
    root = tools["root"][0]["data"]["id"]
    assert [line["data"].get("parent") for line in tools["middle"]] == [root]
    middle = tools["middle"][0]["data"]["id"]
    assert [line["data"].get("parent") for line in tools["leaf"]] == [middle, "00000000000000aa"]
    gathered = tools["gather"][0]["data"]["id"]
    assert {line["data"].get("parent") for line in tools["task"]} == {gathered}
    assert len(tools["task"]) == 51


def test_ten_thousand_open_calls_keep_ids_and_parents(place: Place) -> None:
    """The table of open calls grows with them."""
    place.run_script(
        """
        import asyncio, shmperf
        @shmperf.track
        async def waits(event):
            await event.wait()
            return shmperf.current()
        async def main():
            event = asyncio.Event()
            tasks = [asyncio.create_task(waits(event)) for _ in range(10_000)]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            stats = shmperf.get_perf_stats()
            assert stats["in_flight"] == 10_000, stats["in_flight"]
            event.set()
            ids = await asyncio.gather(*tasks)
            assert len(set(ids)) == 10_000 and None not in ids
        asyncio.run(main())
        """
    )
    stats = place.stats()
    lost = sum(stats["lost"].values())
    assert stats["total_calls"] + lost == stats["begun"] == 10_000


def test_limit_zero_is_outside_the_books(place: Place) -> None:
    """A tool with limit 0 is not recorded, and its children get its caller as parent."""
    place.write("config/tool_perf_limits.yaml", "tool_limits: {silent: 0}\n")
    place.run_script(
        """
        from shmperf import call, track
        @track
        def leaf(): pass
        @track
        def silent(): leaf()
        with call("root"): silent()
        """
    )
    assert set(place.stats()["tool_stats"]) == {"root", "leaf"}
    place.wait_for_end()
    assert place.lines("leaf")[0]["data"]["parent"] == place.lines("root")[0]["data"]["id"]


def test_interruptions_leave_books_context_and_results(place: Place) -> None:
    """Handlers that raise and call tools themselves, at any instant: each call counts once."""
    out = place.run_script(
        """
        import signal, shmperf
        @shmperf.track
        def tool(n): return n
        @shmperf.track
        def inside(): pass
        class Alarm(Exception): pass
        def handler(*_):
            inside()
            raise Alarm
        tool(0); inside()
        signal.signal(signal.SIGALRM, handler)
        calls = 0
        for turn in range(3000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-4 + turn % 97 * 1e-6)
                while True:
                    assert tool(calls) == calls
                    calls += 1
            except Alarm:
                assert shmperf.current() is None, turn
        stats = shmperf.get_perf_stats()
        lost = sum(stats["lost"].values())
        assert stats["begun"] == stats["total_calls"] + lost and not stats["in_flight"], stats
        assert stats["total_calls"] + lost >= calls
        assert not stats["aborted"]
        print("fine")
        """
    )
    assert out == "fine\n"


def test_recursion_limit_and_finalisers_are_survived(place: Place) -> None:
    """A RecursionError is the tool's own; tools called while collecting garbage count."""
    place.run_script(
        """
        import gc, shmperf
        @shmperf.track
        def deep(n): return deep(n + 1)
        try:
            deep(0)
        except RecursionError:
            pass
        assert shmperf.current() is None
        @shmperf.track
        def dying(): pass
        class Dying:
            def __init__(self): self.me = self
            def __del__(self): dying()
        for _ in range(300): Dying()
        gc.collect()
        stats = shmperf.get_perf_stats()
        lost = sum(stats["lost"].values())
        assert stats["begun"] == stats["total_calls"] + lost, stats
        assert stats["tool_stats"]["dying"]["count"] == 300
        """
    )


def test_long_records_grow_and_travel(place: Place) -> None:
    """Parameters of any size arrive whole in optimization mode, and rings grow for bursts."""
    place.run_script(
        """
        import shmperf
        @shmperf.track
        def tool(text): pass
        for n in range(3000): tool("burst")
        shmperf.set_optimization_mode(True)
        for size in (10, 300, 5_000, 60_000, 3_000_000): tool("x" * size)
        assert shmperf.get_perf_stats()["lost"] == {}
        """
    )
    place.wait_for_end()
    sizes = [len(line["data"].get("params", {}).get("text", "")) for line in place.lines("tool")]
    assert sizes[-5:] == [10, 300, 5_000, 60_000, 3_000_000]


def test_ring_that_a_hole_has_stopped_is_replaced_at_the_budget(place: Place) -> None:
    """A position that a debugger cost stops its ring, and not the records of all later calls."""
    place.write("tool_perf_limits.yaml", "ring: {budget_bytes: 1048576, first_slots: 1024}\n")
    place.run_script(
        """
        import time, shmperf
        from shmperf.worker.process import tool_named
        @shmperf.track
        def tool():
            end = time.perf_counter() + 50e-6
            while time.perf_counter() < end: pass
        tool()
        shmperf.get_perf_stats()
        next(tool_named("tool").bound[5])
        for _ in range(3000): tool()
        assert not shmperf.get_tracker().lost, shmperf.get_tracker().lost
        """,
        SHMPERF_CONFIG="tool_perf_limits.yaml",
    )
    place.wait_for_end()
    found = place.stats()
    assert found["total_calls"] == 3001
    assert not any(found["lost"].values())


def test_functions_sent_by_value_are_tracked_there(place: Place) -> None:
    """What cloudpickle sends of a main program or a notebook records in the other process, too."""
    place.run_script(
        """
        import asyncio, subprocess, sys
        import cloudpickle, shmperf
        from shmperf import track

        @track
        def leaf(x): return x
        @track("renamed")
        def work(x, y=2): return leaf(x) + y
        @track
        def steps(n): yield from range(n)
        @track
        async def waits(n): return n
        @track
        async def pours(n):
            for step in range(n): yield step
        @track(params=["x"])
        def chosen(x, secret): return x
        @shmperf.track_class
        class Base:
            def execute(self, x): return x
        class Mine(Base):
            def execute(self, x): return work(x)
        async def gather(n): return [x async for x in pours(n)] + [await waits(n)]
        def every():
            with shmperf.call("block"):
                return [*steps(2), *asyncio.run(gather(2)), chosen(3, 5), Mine().execute(4)]

        def fail(_): raise LookupError
        found = every()
        tracked_fail = track(fail)
        there = (
            "import sys, cloudpickle\\n"
            "every, fail, found = cloudpickle.loads(sys.stdin.buffer.read())\\n"
            "for _ in range(3):\\n"
            "    assert every() == found\\n"
            "try: fail(1)\\n"
            "except LookupError: pass\\n"
        )
        data = cloudpickle.dumps((every, tracked_fail, found))
        subprocess.run([sys.executable, "-c", there], input=data, check=True)
        """
    )
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
