"""Every kind of callable: tracked, called twice, and told as a JSON object a kind."""

import abc
import asyncio
import collections
import contextlib
import copy
import functools
import inspect
import json
import math
import pickle
import sys
import types

import shmperf
from shmperf import track


def plain(a, b=2):
    return [a, b]


async def coroutine(a, b=2):
    await asyncio.sleep(0.001)
    return [a, b]


def generator(a, b=2):
    yield a
    yield b


async def async_generator(a, b=2):
    yield a
    await asyncio.sleep(0.001)
    yield b


@types.coroutine
def old_coroutine(a, b=2):
    yield
    return [a, b]


def handing_out(function):
    @functools.wraps(function)
    def around(*args, **kwargs):
        return function(*args, **kwargs)

    return around


async def innermost(a, b=2):
    await asyncio.sleep(0.001)
    return [a, b]


handed_out = handing_out(innermost)


@contextlib.contextmanager
def context(a, b=2):
    yield [a, b]


@contextlib.asynccontextmanager
async def async_context(a, b=2):
    yield [a, b]


@functools.lru_cache
def cached(a, b=2):
    return [a, b]


@functools.singledispatch
def dispatched(a, b=2):
    return [a, b]


@dispatched.register
def _(a: str, b=2):
    return "text"


class Object:
    """An object."""

    def __init__(self):
        self.calls = 0

    def __call__(self, a, b=2):
        self.calls += 1
        return [a, b]

    def __len__(self):
        return 7

    def method(self, a, b=2):
        return [a, b]

    @classmethod
    def made(cls, a, b=2):
        return [a, b]


class AsyncObject:
    async def __call__(self, a, b=2):
        await asyncio.sleep(0.001)
        return [a, b]


class HandingOut:
    def __call__(self, a, b=2):
        return innermost(a, b)


class GeneratorObject:
    def __call__(self, a, b=2):
        yield a
        yield b


class AsyncGeneratorObject:
    async def __call__(self, a, b=2):
        yield a
        yield b


class Abstract(abc.ABC):
    @abc.abstractmethod
    def method(self, a, b=2):
        """To be written."""


async def awaited(tracked):
    return [await tracked(1), await tracked(1, b=3)]


async def iterated(tracked):
    return [[x async for x in tracked(1)], [x async for x in tracked(1, b=3)]]


async def entered(tracked):
    async with tracked(1) as first:
        pass
    async with tracked(1, b=3) as second:
        return [first, second]


def within(tracked):
    with tracked(1) as first, tracked(1, b=3) as second:
        return [first, second]


HOW = {
    "call": lambda tracked: [tracked(1), tracked(1, b=3)],
    "await": lambda tracked: asyncio.run(awaited(tracked)),
    "iterate": lambda tracked: [list(tracked(1)), list(tracked(1, b=3))],
    "async for": lambda tracked: asyncio.run(iterated(tracked)),
    "with": within,
    "async with": lambda tracked: asyncio.run(entered(tracked)),
    "one": lambda tracked: [tracked(4), tracked(4)],
    "two": lambda tracked: [tracked(0, 4), tracked(0, 4)],
    "partial": lambda tracked: [tracked(), tracked(b=3)],
}

KINDS = {
    "plain": (plain, "call"),
    "coroutine": (coroutine, "await"),
    "generator": (generator, "iterate"),
    "async_generator": (async_generator, "async for"),
    "old_coroutine": (old_coroutine, "await"),
    "innermost": (handed_out, "await"),
    "context": (context, "with"),
    "async_context": (async_context, "async with"),
    "cached": (cached, "call"),
    "dispatched": (dispatched, "call"),
    "Object": (Object(), "call"),
    "AsyncObject": (AsyncObject(), "await"),
    "HandingOut": (HandingOut(), "await"),
    "GeneratorObject": (GeneratorObject(), "iterate"),
    "AsyncGeneratorObject": (AsyncGeneratorObject(), "async for"),
    "method": (Object().method, "call"),
    "made": (Object.made, "call"),
    "sqrt": (math.sqrt, "one"),
    "bit_length": (int.bit_length, "one"),
    "append": (collections.deque().append, "one"),
    "named partial": (functools.partial(plain, 1), "partial"),
    "async partial": (functools.partial(coroutine, b=2), "await"),
    "object's partial": (functools.partial(AsyncObject()), "await"),
    "partial of partial": (functools.partial(functools.partial(generator), b=2), "iterate"),
    "abstract": (Abstract.method, "two"),
    "lambda": (lambda a, b=2: [a, b], "call"),
}

PREDICATES = [
    inspect.isfunction,
    inspect.ismethod,
    inspect.isbuiltin,
    inspect.isroutine,
    inspect.ismethoddescriptor,
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.isabstract,
    inspect.isawaitable,
    callable,
    asyncio.iscoroutinefunction if sys.version_info < (3, 14) else inspect.iscoroutinefunction,
    lambda found: getattr(found, "__isabstractmethod__", None),
    lambda found: hasattr(found, "__get__"),
    lambda found: hasattr(found, "__len__") and len(found),
    lambda found: found.__class__.__name__,
    lambda found: found.__doc__,
    lambda found: getattr(found, "__name__", None),
    lambda found: getattr(found, "__qualname__", None),
    lambda found: found.__module__ if hasattr(found, "__module__") else None,
    lambda found: getattr(found, "__annotations__", None),
    lambda found: getattr(found, "__defaults__", None) if inspect.ismethod(found) else None,
    lambda found: (
        sorted(set(dir(found)) - {"__wrapped__", "__signature__"})
        if not inspect.isfunction(found)
        else None
    ),
    lambda found: bool(found),
    lambda found: hash(found) is not None,
]


def signature(found):
    try:
        return str(inspect.signature(found))
    except ValueError:
        return None


def lost_of(original, tracked):
    """What the tracked one is not like the original in."""
    lost = [
        f"{number}: {one(original)!r} is {one(tracked)!r}"
        for number, one in enumerate(PREDICATES)
        if one(original) != one(tracked)
    ]
    if signature(original) != signature(tracked):
        lost.append(f"signature {signature(tracked)}")
    lost += (
        [name for name in vars(original) if not hasattr(tracked, name)]
        if hasattr(original, "__dict__")
        else []
    )
    if not isinstance(tracked, type(original)):
        lost.append(f"isinstance {type(original)}")
    return lost


def is_tracked_after(function, tracked):
    """Whether a copy of it, and what was pickled, is tracked as well; None where it can't be."""
    try:
        pickle.dumps(function)
    except (pickle.PicklingError, AttributeError):
        return None
    if isinstance(tracked, types.FunctionType):
        return copy.copy(tracked) is tracked
    from shmperf.worker.wrappers import tracked_name

    made = [pickle.loads(pickle.dumps(tracked)), copy.copy(tracked), copy.deepcopy(tracked)]  # noqa: S301  our own bytes
    return {tracked_name(one) for one in made} == {tracked_name(tracked)}


def run(kind):
    original, how = KINDS[kind]
    expected = HOW[how](original)
    tracked = track(original)
    with shmperf.call("outer"):
        same = HOW[how](tracked) == expected
    if original is cached:
        # By name: the function is found there again.
        globals()["cached"] = tracked
        assert pickle.loads(pickle.dumps(tracked)) is tracked  # noqa: S301  our own bytes
        assert tracked.cache_info().hits == 2
    return {
        "same": same,
        "lost": lost_of(original, tracked),
        "pickled": is_tracked_after(original, tracked),
    }


if sys.argv[1] == "optimization":
    shmperf.set_optimization_mode(True)
print(json.dumps({kind: run(kind) for kind in KINDS}))
