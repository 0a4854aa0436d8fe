import asyncio
import functools
import inspect

from shmperf.interceptors import intercept_class


@intercept_class
class Tool:
    pass


def function(self, a):
    return a


async def coroutine(self, a):
    return a


def generator(self, a):
    yield a


async def async_generator(self, a):
    yield a


def loose(a):
    return a


def made(name, body):
    return type(name, (Tool,), {"execute": body})()


async def collected(steps):
    return [step async for step in steps]


assert made("function", function).execute(3) == 3
assert made("static", staticmethod(loose)).execute(3) == 3
assert made("made", classmethod(function)).execute(3) == 3
assert made("completed", functools.partialmethod(function, 3)).execute() == 3
assert list(made("generator", generator).execute(3)) == [3]
awaited = made("coroutine", coroutine)
assert inspect.iscoroutinefunction(awaited.execute)
assert asyncio.run(awaited.execute(3)) == 3
poured = made("async_generator", async_generator)
assert inspect.isasyncgenfunction(poured.execute)
assert asyncio.run(collected(poured.execute(3))) == [3]
