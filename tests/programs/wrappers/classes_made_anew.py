"""Classes that attrs makes anew, with slots: their methods know the class that they end in."""

import asyncio
import functools

import attrs

from shmperf import track, track_class


@attrs.define
class Base:
    x: int = 1

    def plain(self, *more):
        return [__class__ is Base, *more]

    async def coroutine(self):
        return [__class__ is Base]

    def generator(self):
        yield __class__ is Base

    async def async_generator(self):
        yield __class__ is Base


@attrs.define
class Tracked(Base):
    y: int = 2

    @track
    def plain(self, *more):
        return [__class__ is Tracked, *super().plain(*more)]

    @track
    async def coroutine(self):
        return [__class__ is Tracked, *await super().coroutine()]

    @track
    def generator(self):
        yield __class__ is Tracked
        yield from super().generator()

    @track
    async def async_generator(self):
        yield __class__ is Tracked
        async for one in super().async_generator():
            yield one

    @track(params=["a"])
    def chosen(self, a):
        return [__class__ is Tracked, *super().plain(a)]

    @classmethod
    @track
    def of_class(cls):
        return [__class__ is Tracked, super().plain is Base.plain]

    @track
    @track(name="inner")
    def twice(self):
        return [__class__ is Tracked, *super().plain()]


async def all_of(steps):
    return [one async for one in steps]


tool = Tracked()
assert tool.plain() == tool.twice() == tool.of_class() == [True, True]
assert asyncio.run(tool.coroutine()) == [True, True]
assert list(tool.generator()) == [True, True]
assert asyncio.run(all_of(tool.async_generator())) == [True, True]
assert tool.plain(3) == tool.chosen(3) == [True, True, 3]

for method in ("plain", "coroutine", "generator", "async_generator"):

    @attrs.define
    @functools.partial(track_class, method=method)
    class Own:
        x: int = 1

        def plain(self):
            return [__class__ is Own]

        async def coroutine(self):
            return [__class__ is Own]

        def generator(self):
            yield __class__ is Own

        async def async_generator(self):
            yield __class__ is Own

    @attrs.define
    class Heir(Own):
        y: int = 2

        def plain(self):
            return [__class__ is Heir, *super().plain()]

        async def coroutine(self):
            return [__class__ is Heir, *await super().coroutine()]

        def generator(self):
            yield __class__ is Heir
            yield from super().generator()

        async def async_generator(self):
            yield __class__ is Heir
            async for one in super().async_generator():
                yield one

    for kind, expected in (Own, [True]), (Heir, [True, True]):
        tool = kind()
        assert tool.plain() == asyncio.run(tool.coroutine()) == expected
        assert list(tool.generator()) == asyncio.run(all_of(tool.async_generator())) == expected
