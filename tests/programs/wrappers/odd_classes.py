"""Classes, names and exceptions that answer nothing, or lie: tracked all the same."""

import enum
import sys

from shmperf import track, track_class


class Silent(str):
    """A text that can't be asked for anything."""

    __slots__ = ()

    def __hash__(self):
        raise RuntimeError("hash")

    def __eq__(self, other):
        raise RuntimeError("eq")

    def __str__(self):
        raise RuntimeError("str")

    def __getitem__(self, place):
        raise RuntimeError("getitem")


class Names(str, enum.Enum):  # noqa: UP042  older programs have it so
    SEARCH = "search"


@track_class
class Base:
    def execute(self):
        return self.name


class Named(Base):
    name = Names.SEARCH


class Silently(Base):
    name = Silent("search")


class Closed(type):
    """Tells nobody what descends from its classes."""

    def __subclasses__(cls):
        raise RuntimeError("subclasses")


@track_class
class Closed(metaclass=Closed):
    def execute(self):
        return self


class Nameless(type):
    """Tells nobody anything of its classes."""

    def __getattribute__(cls, name):
        raise RuntimeError(name)


class Liar(BaseException, metaclass=Nameless):
    @property
    def __class__(self):
        raise RuntimeError("class")

    @property
    def __traceback__(self):
        raise RuntimeError("traceback")


@track
def raises():
    raise Liar


@track
def steps():
    yield 1
    raise Liar


@track
async def is_awaited():
    raise Liar


class Unsigned:
    @property
    def __signature__(self):
        raise NameError("only a type checker knows it")

    def __call__(self, value):
        return value


# From 3.14 on annotations are evaluated when they are asked for; before, only what is no string.
LATER = "def annotated(value: OnlyTypes): return value"
if sys.version_info < (3, 14):
    LATER = f"from __future__ import annotations\n{LATER}"
exec(LATER)  # noqa: S102  our own


assert track(name="signed")(annotated)(3) == 3  # noqa: F821  made above
assert track(name="signed", params=["value"])(annotated)(3) == 3  # noqa: F821  made above
assert track(name="signed")(Unsigned())(3) == 3
assert Named().execute() is Names.SEARCH
assert type(Silently().execute()) is Silent
assert type(Closed().execute()) is Closed
for go in raises, lambda: list(steps()), lambda: is_awaited().send(None):
    try:
        go()
    except BaseException as error:  # noqa: BLE001  told
        assert type(error) is Liar
