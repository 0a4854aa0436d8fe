"""Generators that are closed, thrown into and fail: what differs from those that nobody tracks."""

import contextlib
import gc
import json
import sys
import weakref

import shmperf


class Thrown(Exception):
    pass


class Failed(KeyError):
    pass


class Steps:
    """Each as a method, and so of a class that is tracked, too."""

    def gives_up(self):
        try:
            yield 1
        except GeneratorExit:
            return "gave up"

    def goes_on(self):
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    def fails(self):
        try:
            yield 1
        finally:
            raise Failed("on the way out")

    async def async_gives_up(self):
        with contextlib.suppress(GeneratorExit):
            yield 1

    async def async_goes_on(self):
        with contextlib.suppress(GeneratorExit):
            yield 1
        yield 2

    async def async_fails(self):
        try:
            yield 1
        finally:
            raise Failed("on the way out")


async def next_and(steps, end, given):
    await anext(steps)
    return await getattr(steps, f"a{end}")(*given)


def stepped_through(coroutine):
    """What it returns; it waits for nothing, and no loop tells of what it leaves open."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value


def ended(method, instance, end, *given):
    """What comes of *end* after the first step of what *method* makes."""
    steps = method(instance)
    if hasattr(steps, "__anext__"):
        return stepped_through(next_and(steps, end, given))
    next(steps)
    return getattr(steps, end)(*given)


def told(*call):
    """What comes of it, and whether an exception is gone with who has caught it."""
    try:
        return "gives", ended(*call)
    except BaseException as error:  # noqa: BLE001  told
        shown = type(error).__name__, str(error), type(error.__context__).__name__
        caught = weakref.ref(error) if isinstance(error, Thrown | Failed) else lambda: None
    return *shown, caught() is None


gc.disable()
differs = {}
for name, plain in list(vars(Steps).items()):
    if name.startswith("__"):
        continue
    tool = shmperf.track_class(type("Tool", (), {"execute": plain}))
    ways = {
        "track": (shmperf.track(name="tracked")(plain), Steps()),
        "track_class": (tool.execute, tool()),
    }
    for way, (tracked, instance) in ways.items():
        for end in ("close", None), ("throw", GeneratorExit), ("throw", Thrown):
            given = [one for one in end[1:] if one]
            expected = told(plain, instance, end[0], *(one("thrown") for one in given))
            found = told(tracked, instance, end[0], *(one("thrown") for one in given))
            if found != expected:
                differs[f"{name} {way} {end}"] = [expected, found]
json.dump(differs, sys.stdout)
