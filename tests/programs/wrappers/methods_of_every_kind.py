"""Methods of every kind in a tracked class: called, and what they are like told as JSON."""

import abc
import asyncio
import collections
import dataclasses
import enum
import functools
import inspect
import json
import math
import pickle
import sys
from typing import NamedTuple, Protocol

import attrs

import shmperf
from shmperf import track_class

lost = {}


class Base:
    """Tracked below, when some subclasses are there already."""


def bodies():
    """What a class may have as its method, how that is called, and what comes of it."""

    def function(self, a):
        return a

    async def coroutine(self, a):
        await asyncio.sleep(0)
        return a

    def generator(self, a):
        got = yield a
        return got

    async def async_generator(self, a):
        got = yield a
        yield got

    def static(a):
        return a

    def made(cls, a):
        return a

    @functools.lru_cache
    def cached(self, a):
        return a

    async def waits(self, b, a):
        return a

    @functools.wraps(function)
    def wrapped(*args):
        return function(*args)

    return {
        "function": function,
        "coroutine": coroutine,
        "generator": generator,
        "async_generator": async_generator,
        "static": staticmethod(static),
        "made": classmethod(made),
        "cached": cached,
        "completed": functools.partialmethod(function),
        "awaited": functools.partialmethod(waits, 1),
        "completed static": functools.partialmethod(staticmethod(static)),
        "partial": functools.partial(static)
        if sys.version_info < (3, 13)
        else staticmethod(functools.partial(static)),
        "builtin": math.floor,
        "wrapped": wrapped,
    }


def generator_result(steps):
    try:
        found = [next(steps), steps.send(5)]
    except StopIteration as stop:
        found = stop.value
    return found


async def async_result(steps):
    found = [await steps.__anext__(), await steps.asend(5)]
    await steps.aclose()
    return found


def call(instance, body):
    result = instance.execute(3)
    if inspect.iscoroutine(result):
        return asyncio.run(awaited(result))
    if inspect.isgenerator(result):
        return generator_result(result)
    return asyncio.run(async_result(result)) if inspect.isasyncgen(result) else result


async def awaited(coroutine):
    return await coroutine


PREDICATES = [
    inspect.isfunction,
    inspect.iscoroutinefunction,
    inspect.isgeneratorfunction,
    inspect.isasyncgenfunction,
    inspect.ismethod,
    callable,
    inspect.signature,
    lambda found: hasattr(found, "cache_info"),
    lambda found: found.__class__,
    lambda found: getattr(found, "__name__", None),
]


def lost_of(plain, cls):
    """What the tracked class is not like the plain one in, read from class and instance."""
    pairs = [
        (plain.execute, cls.execute),
        (plain().execute, cls().execute),
        (inspect.getattr_static(plain, "execute"), inspect.getattr_static(cls, "execute")),
    ]
    found = [
        f"{place} {number}: {one(a)!r} is {one(b)!r}"
        for place, (a, b) in enumerate(pairs[:2])
        for number, one in enumerate(PREDICATES)
        if one(a) != one(b)
    ]
    a, b = pairs[2]
    return found if isinstance(b, type(a)) else [*found, f"static: {type(b)}"]


def subclass(name, body, *bases):
    return type(name, bases, {"execute": body} if body is not None else {})


early = {name: subclass(f"{name} early", body, Base) for name, body in bodies().items()}
track_class(Base)
calls = {}
for mode in ("normal", "optimization"):
    shmperf.set_optimization_mode(mode == "optimization")
    for name, body in bodies().items():
        plain = subclass("Plain", body, object)
        expected = call(plain(), body)
        late = subclass(f"{name} late", body, Base)
        beside = subclass(f"{name} beside", None, Base, subclass("Mixin", body, object))
        heir = subclass(f"{name} heir", None, late)
        named = subclass("Named", body, Base)
        named.name = f"{name} named"
        for cls in (early[name], late, beside, heir, named):
            assert call(cls(), body) == expected, (name, cls)
            lost[f"{name} {cls.__name__}"] = lost_of(plain, cls)
        instance = named()
        instance.name = f"{name} instance"
        assert call(instance, body) == expected


# --- classes of every kind ------------------------------------------------------------------------


@dataclasses.dataclass(slots=True)
@track_class
class Slotted:
    size: int = 1

    def execute(self, a):
        return a + self.size


@dataclasses.dataclass(slots=True)
class SlottedHeir(Slotted):
    other: int = 2

    def execute(self, a):
        return Slotted.execute(self, a) * self.other


@attrs.define
@track_class
class Attrs:
    size: int = 1

    def execute(self, a):
        return a


@attrs.define
class AttrsHeir(Attrs):
    def execute(self, a):
        return a


class Meta(abc.ABCMeta):
    def __setattr__(cls, name, value):
        if name == "execute":
            raise AttributeError("never")
        super().__setattr__(name, value)


@track_class
class Arguments:
    seen = ()

    def __init_subclass__(cls, /, key, **kwargs):
        super().__init_subclass__(**kwargs)
        cls.seen = (*cls.seen, key)


class Silent(Arguments, key=1):
    # Never calls the one above.
    def __init_subclass__(cls, **kwargs):
        cls.kwargs = kwargs


class BelowSilent(Silent, other=2):
    def execute(self, a):
        return a


@track_class
class Interface(Protocol):
    def execute(self, a): ...


class Implements(Interface):
    def execute(self, a):
        return a


@track_class
class Abstract(abc.ABC):
    @abc.abstractmethod
    def execute(self, a):
        """To be written."""


class Concrete(Abstract):
    def execute(self, a):
        return a


@track_class
class Level(enum.Enum):
    def execute(self, a):
        return a


class Colour(Level):
    RED = 1


@track_class
class Pair(NamedTuple):
    a: int = 1

    def execute(self, a):
        return a


@track_class(method="get")
class Mapping(collections.UserDict):
    pass


@track_class(method="get")
class Plain(dict):
    pass


class Shared:
    def execute(self, a):
        return ["shared", a]


class Right(Shared):
    def execute(self, a):
        return ["right", *super().execute(a)]


class First(Base, Shared):
    pass


class Diamond(First, Right):
    pass


class Around(First):
    @functools.wraps(Shared.execute)
    def execute(self, a):
        return super().execute(a)


@track_class(method="second")
class Twice(Base):
    def execute(self, a):
        return self.second(a)

    def second(self, a):
        return a


assert Slotted().execute(3) == 4
assert SlottedHeir().execute(3) == 8
assert Attrs().execute(3) == AttrsHeir().execute(3) == 3
assert BelowSilent().execute(3) == 3
assert (BelowSilent.kwargs, Silent.seen) == ({"other": 2}, (1,))
assert Implements().execute(3) == Concrete().execute(3) == Colour.RED.execute(3) == 3
assert Abstract.__abstractmethods__ == {"execute"}
assert Pair().execute(3) == 3
assert Mapping({1: 2}).get(1) == Plain({1: 2}).get(1) == 2
assert Diamond().execute(3) == ["right", "shared", 3]
assert First().execute(3) == Around().execute(3) == ["shared", 3]
assert Twice().execute(3) == 3
assert pickle.loads(pickle.dumps(SlottedHeir.execute)) is SlottedHeir.execute  # noqa: S301  our own bytes
for cls in (First, Diamond):
    assert pickle.loads(pickle.dumps(cls().execute))(3) == cls().execute(3)  # noqa: S301  our own bytes
# A test that puts something else in the place of what is inherited gets that.
Shared.execute = lambda _, a: ["other", a]
assert First().execute(3) == ["other", 3]


class Refuses(metaclass=Meta):
    pass


refused = []
try:
    track_class(type("Read", (), {"execute": property(lambda self: print)}))
except TypeError as error:
    refused.append(str(error))
for wrong in (5, "execute"):
    try:
        track_class(wrong)
    except TypeError as error:
        refused.append(str(error))
track_class(Refuses)
Wrong = Meta("Wrong", (Refuses,), {"execute": lambda self, a: a})
Read = type("Read", (Base,), {"execute": property(lambda self: lambda a: a)})
assert Wrong().execute(3) == Read().execute(3) == 3
json.dump(
    {"lost": {name: found for name, found in lost.items() if found}, "refused": refused}, sys.stdout
)
