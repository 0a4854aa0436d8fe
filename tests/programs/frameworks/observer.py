import asyncio
import sys
import threading

import shmperf
from shmperf.integrations.observer import Observer, foreign_call, shared_call

one, other = Observer("one"), Observer("other")


@shmperf.track
def tool(depth=0):
    return tool(depth - 1) if depth else "done"


@shmperf.track
async def async_tool():
    return "done"


@shmperf.track(params=["depth"])
def chosen(depth=0):
    return "done"


@shmperf.track
def steps():
    yield from "ab"


class Base:
    def execute(self):
        return "done"


Base = shmperf.track_class(Base)


def hooked(observer, name, function, *args, **given):
    sight = observer.begin(name, {}, **given)
    try:
        return function(*args)
    finally:
        sight.end()


def same_tool_directly_beneath_same_call() -> None:
    for at in range(3):
        # The first call goes another way than the later ones.
        assert hooked(one, "tool", tool) == "done"
        assert hooked(one, "async_tool", lambda: asyncio.run(async_tool())) == "done"
        assert hooked(one, "chosen", chosen) == "done"
        assert hooked(one, "steps", lambda: list(steps())) == ["a", "b"]
        assert hooked(one, "Base", Base().execute) == "done"


def everything_else_call_its_own() -> None:
    hooked(one, "tool", tool, 2)  # one call, seen twice, and two recursive ones

    def twice():
        tool()
        tool()

    hooked(one, "tool", twice)  # one call, seen twice, and a second one
    hooked(one, "another", tool)
    hooked(one, "another", lambda: hooked(one, "another", tool))


def two_hooks_decorator_one_call() -> None:
    def second(observer):
        sight = observer.begin("tool", {"ignored": True})
        sight.annotate(call_id="7", nothing=None)
        tool()
        sight.end()

    hooked(one, "tool", second, other)
    hooked(other, "tool", second, one)

    @shmperf.track("outside")
    def outside():
        hooked(one, "outside", hooked, other, "outside", lambda: None)
        hooked(one, "outside", lambda: None)  # a second one is a call of its own

    outside()


def observers_second_look_one_call() -> None:
    def nested(key):
        hooked(one, "tool", lambda: None, key=key)

    sight = one.begin("tool", {}, key="call 1")
    nested("call 1")
    nested("call 2")
    sight.end()


def end_another_thread_restores_no_wrong() -> None:
    sight = one.begin("begun", {"a": 1})
    tool()
    thread = threading.Thread(target=sight.end, args=("TimeoutError: late",))
    thread.start()
    thread.join()
    sight.end(ValueError())
    tool()
    assert shmperf.current() is None


def call_carried_another_process() -> None:
    with shmperf.call("agent"):
        text = shared_call(shmperf.current())
    assert shared_call(None) is None
    for wrong in (None, 5, "", "x", text.replace(":", ":0"), "0123:" + text.partition(":")[2]):
        assert foreign_call(wrong) is None
    hooked(one, "beneath", tool, parent=foreign_call(text))
    joined = other.join(foreign_call(text), "agent", "one")
    tool()
    joined.end()


def what_not_understood_counted_told_once() -> None:
    import logging

    told = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())
    logging.getLogger("shmperf").addHandler(handler)
    tool()

    async def answer():
        return 5

    for at in range(3):
        sight = one.guard(lambda: None.missing)
        assert asyncio.run(one.watch(sight, lambda result: None, answer)) == 5
        seen = one.begin("watched", {})
        assert asyncio.run(one.watch(seen, lambda result: result.missing, answer)) == 5
    print(len(told), "one: a call was not understood: AttributeError" in told[0])


def calls_not_recorded_run_all() -> None:
    if sys.argv[2] == "off":
        shmperf.get_tracker().enabled = False
    assert hooked(one, "unwanted", tool) == "done"
    shmperf.get_tracker().enabled = True
    assert hooked(one, "wanted", tool) == "done"


if __name__ == "__main__":
    globals()[sys.argv[1]]()
