import asyncio
import contextlib
import contextvars
import threading

from shmperf import adopt, call, current, track


@track
def leaf():
    return current()


def elsewhere(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def block(name):
    with call(name) as opened:
        yield opened.id


def closed_in_another_thread():
    generator = block("a")
    assert next(generator) == current()
    elsewhere(generator.close)


def closed_in_another_context():
    generator = block("a")
    assert next(generator) == current()
    contextvars.copy_context().run(generator.close)


def closed_in_the_order_of_their_beginning():
    generators = [block(name) for name in "abc"]
    ids = [next(generator) for generator in generators]
    assert current() == ids[2]
    generators[0].close()
    assert current() == ids[2]
    generators[2].close()
    assert current() == ids[1]
    generators[1].close()


def closed_within_a_tracked_function():
    generator = block("a")
    next(generator)
    closes(generator)


@track
def closes(generator):
    generator.close()
    assert current() is not None


@track
def tracked_generator(names):
    with contextlib.ExitStack() as stack:
        for name in names:
            mine = stack.enter_context(call(name))
            assert current() == mine.id
            yield mine.id
            assert current() == mine.id


def blocks_of_a_tracked_generator_are_current_in_its_steps():
    with call("around") as around:
        generator = tracked_generator("ab")
        for _ in range(2):
            assert next(generator) != around.id
            assert current() == around.id
        elsewhere(generator.close)
        assert current() == around.id


def a_stack_that_is_closed_elsewhere():
    stack = contextlib.ExitStack()
    stack.enter_context(call("a"))
    inner = stack.enter_context(call("b"))
    assert current() == inner.id
    elsewhere(stack.close)


def blocks_entered_by_hand():
    outer, inner = call("a"), call("b")
    outer.__enter__()
    inner.__enter__()
    assert current() == inner.id
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert current() is None
    third = call("c")
    third.__enter__()
    elsewhere(lambda: third.__exit__(None, None, None))


ELSEWHERE = "00000000000000aa"


def adopting():
    with adopt(ELSEWHERE):
        yield current()


def an_adopted_parent_that_is_left_elsewhere():
    for close in (elsewhere, contextvars.copy_context().run):
        generators = [adopting(), adopting()]
        assert [next(generator) for generator in generators] == [ELSEWHERE] * 2 == [current()] * 2
        close(generators[0].close)
        assert current() == ELSEWHERE
        close(generators[1].close)
        assert current() is None
    stack = contextlib.ExitStack()
    stack.enter_context(adopt(ELSEWHERE))
    elsewhere(stack.close)


def an_adopting_decorator():
    @adopt(ELSEWHERE)
    def found(depth):
        return [current(), *(found(depth - 1) if depth else [])]

    assert found(2) == [ELSEWHERE] * 3


@track
async def waits():
    await asyncio.sleep(0)


def a_coroutine_driven_by_hand():
    coroutine = waits()
    coroutine.send(None)
    elsewhere(coroutine.close)


async def pours():
    async with call("a"):
        yield current()
        yield current()


def an_async_generator_closed_by_another_task():
    async def main():
        generator = pours()
        assert await anext(generator) == current()
        await asyncio.create_task(generator.aclose())
        assert current() is None
        assert leaf() is not None

    asyncio.run(main())


def tasks_keep_what_they_began_in():
    async def late(gate):
        await gate.wait()
        return current(), await asyncio.to_thread(current)

    @contextlib.contextmanager
    def span():
        with call("a") as opened:
            yield opened.id

    async def main():
        gate = asyncio.Event()
        with call("around") as around:
            with span() as mine:
                tasks = [asyncio.create_task(late(gate)) for _ in range(3)]
                copied = contextvars.copy_context()
            assert current() == around.id
            gate.set()
            for task in tasks:
                assert await task == (mine, mine)
            assert copied.run(current) == mine

    asyncio.run(main())


CASES = [
    closed_in_another_thread,
    closed_in_another_context,
    closed_in_the_order_of_their_beginning,
    closed_within_a_tracked_function,
    blocks_of_a_tracked_generator_are_current_in_its_steps,
    a_stack_that_is_closed_elsewhere,
    blocks_entered_by_hand,
    an_adopted_parent_that_is_left_elsewhere,
    an_adopting_decorator,
    a_coroutine_driven_by_hand,
    an_async_generator_closed_by_another_task,
    tasks_keep_what_they_began_in,
]
bad = []
for case in CASES:

    def checked(case=case):
        try:
            case()
            left = current()
            assert left is None, "a call that has ended is current"
            assert leaf() is not None
            assert current() is None
        except AssertionError as error:
            bad.append((case.__name__, str(error), error.__traceback__.tb_lineno))

    # Each in a context of its own: what one leaves is nobody else's.
    contextvars.copy_context().run(checked)
assert not bad, bad
