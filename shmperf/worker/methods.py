"""
A method of a class that is seen to: in its place stands one of the same kind.

    what was there                      what stands there instead
    function                            a function of the same kind that looks whose call it is
    classmethod, staticmethod           one that looks from where it is read
    partialmethod                       one of what was made of the method that it completes
    object that binds (lru_cache)       what stands in for it, and looks whose call it is
    object that does not (partial)      what stands in for it, and looks from where it is read

A call goes by the instance's name, or its class's. A class may have the method from beside the
class whose methods are seen to; then what stands there steps aside as soon as anything else has
come between: a class with several bases, or a test that patches the other class.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Protocol

from .asyncgens import next_step
from .classcell import with_class_of
from .failures import is_handlers, is_programs
from .kinds import as_iterable_coroutine, kind_of
from .standin import is_stand_in, made_from, stand_in
from .walk import plain_text

__all__ = ["replacement", "site_of", "static_attribute"]

_MARK = "__shmperf_method__"
_NOTHING = object()


if TYPE_CHECKING:

    class Wrap(Protocol):
        """What is called instead of a function: of the same arguments, by the name *called*."""

        def __call__(
            self, function: Callable[..., Any], called: str, /, *, is_bound: bool
        ) -> Callable[..., Any]: ...


def static_attribute(cls: type, method: str) -> Any:
    """What *cls* or a base of it has under that name, as it stands there; None for nothing."""
    for base in cls.__mro__:
        if method in base.__dict__:
            return base.__dict__[method]
    return None


def site_of(found: Any) -> Site | None:
    """Where *found* is the method that is seen to: itself, not what has been made to look so."""
    site = made_from(found) or getattr(found, _MARK, None)
    return site if type(site) is Site and site.made is found else None


def replacement(own: Any, method: str, wrap: Wrap, *, is_inherited: bool) -> Any:
    """
    What stands in the place of *own*, a class's attribute; None where nothing can.

    *is_inherited* says that it is put into another class than has *own*.
    """
    site = Site(own, method, wrap, is_inherited=is_inherited)
    made = _made_for(own, site)
    if made is None:
        return None
    site.made = made
    if not is_stand_in(made):
        setattr(made, _MARK, site)
    return made


class Site:
    """Where one method stands: what was there, and what is called instead, by name."""

    __slots__ = ("by_name", "is_inherited", "made", "method", "own", "wrap")

    def __init__(self, own: Any, method: str, wrap: Wrap, *, is_inherited: bool) -> None:
        self.own = own
        self.method = method
        self.wrap = wrap
        self.is_inherited = is_inherited
        self.made: Any = None
        self.by_name: dict[str, Callable[..., Any]] = {}

    def name_for(self, instance: Any, cls: type) -> str | None:
        """What a call goes by; None when it is a part of another call, or not ours to see."""
        # An overridden method reached through super() is part of the call that overrides it.
        if static_attribute(cls, self.method) is not self.made:
            return None
        if self.is_inherited and self.beneath(cls) is not self.own:
            return None
        return called_by(instance, cls)

    def way(self, function: Any, called: str, *, is_bound: bool) -> Any:
        """What is called instead of *function* by that name; itself where that can't be made."""
        found = self.by_name.get(called)
        if found is None:
            try:
                made = self._made(function, called, is_bound=is_bound)
                found = self.by_name.setdefault(called, made)
            except Exception as error:
                # The tool is called whatever fails in here.
                if is_programs(error):
                    raise
                return function
        return found

    def _made(self, function: Any, called: str, *, is_bound: bool) -> Any:
        if isinstance(function, (classmethod, staticmethod)):
            is_bound = isinstance(function, classmethod)
            return type(function)(self.wrap(function.__func__, called, is_bound=is_bound))
        return self.wrap(function, called, is_bound=is_bound)

    def beneath(self, cls: type) -> Any:
        """What the class that is seen to inherits, as *cls* is made; not what we have put there."""
        bases = iter(cls.__mro__)
        for base in bases:
            if base.__dict__.get(self.method) is self.made:
                break
        for base in bases:
            found = base.__dict__.get(self.method, _NOTHING)
            if found is not _NOTHING and not ((site := site_of(found)) and site.is_inherited):
                return found
        return self.own

    def natively(self, instance: Any, cls: type) -> Any:
        """What reading the method gives without us."""
        found = self.beneath(cls) if self.is_inherited else self.own
        get = getattr(type(found), "__get__", None)
        return found if get is None else get(found, instance, cls)


def called_by(instance: Any, cls: type) -> str:
    """The name of an instance (or a class alone) when it is a text, else of its class."""
    name: Any = None
    try:
        name = getattr(cls if instance is None else instance, "name", None)
    except Exception as error:
        # A property is foreign code.
        if is_handlers(error):
            raise
    # Of a class of its own it is foreign code: what it says is taken, and nothing of it is called.
    return plain_text(name) if issubclass(type(name), str) else cls.__name__


def _made_for(own: Any, site: Site) -> Any:
    if type(own) is FunctionType:
        made = with_class_of(own, _dispatcher(own, _chooser(own, site)))
        return functools.update_wrapper(made, own)
    if isinstance(own, (classmethod, staticmethod)):
        return _read(own, site)
    if isinstance(own, functools.partialmethod):
        return _read_partial(own, site)
    if isinstance(own, type) or not callable(own):
        return None
    again = functools.partial(
        replacement, method=site.method, wrap=site.wrap, is_inherited=site.is_inherited
    )
    if _binds(own):
        return stand_in(
            own,
            _dispatcher(own, _chooser(own, site)),
            again,
            site,
            get=lambda instance, _: _bound(site.made, instance),
        )
    return stand_in(own, own, again, site, get=functools.partial(_read_plain, own, site))


def _binds(own: Any) -> bool:
    """Whether a class's attribute gets the instance that it is read from."""
    # A partial of 3.13 has what binds, but only warns that it will.
    is_partial = isinstance(own, functools.partial) and sys.version_info < (3, 14)
    return hasattr(type(own), "__get__") and not is_partial


def _bound(made: Any, instance: Any) -> Any:
    return made if instance is None else MethodType(made, instance)


# --- read from a class or an instance -------------------------------------------------------------


class _ReadStatic(staticmethod):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A static method that looks from where it is read."""

    site: Site

    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        return _read_plain(self.__func__, self.site, instance, owner)

    def __reduce__(self) -> Any:
        return _ReadStatic, (None,), (self.__func__, vars(self))

    def __setstate__(self, state: tuple[Any, dict[str, Any]]) -> None:
        staticmethod.__init__(self, state[0])
        vars(self).update(state[1])


class _ReadClass(classmethod):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A class method that looks from where it is read."""

    site: Site

    def __get__(self, instance: Any, owner: Any = None, /) -> Any:
        cls = type(instance) if owner is None else owner
        called = self.site.name_for(instance, cls)
        if called is None:
            return self.site.natively(instance, cls)
        return MethodType(self.site.way(self.__func__, called, is_bound=True), cls)

    def __reduce__(self) -> Any:
        return _ReadClass, (None,), (self.__func__, vars(self))

    def __setstate__(self, state: tuple[Any, dict[str, Any]]) -> None:
        classmethod.__init__(self, state[0])
        vars(self).update(state[1])


class _ReadPartial(functools.partialmethod[Any]):
    """A method completed by arguments that looks from where it is read."""

    site: Site

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        cls = type(instance) if owner is None else owner
        called = self.site.name_for(instance, cls)
        if called is None:
            return self.site.natively(instance, cls)
        way = self.site.way(self.func, called, is_bound=True)
        return functools.partialmethod(way, *self.args, **self.keywords).__get__(instance, cls)

    def __reduce__(self) -> Any:
        return _ReadPartial, (self.func, *self.args), vars(self)


def _read_partial(own: functools.partialmethod[Any], site: Site) -> Any:
    made = _ReadPartial(own.func, *own.args, **own.keywords)
    vars(made).update({name: value for name, value in vars(own).items() if name != _MARK})
    made.site = site
    return made


def _read(own: Any, site: Site) -> Any:
    made: Any = (_ReadClass if isinstance(own, classmethod) else _ReadStatic)(own.__func__)
    vars(made).update({name: value for name, value in vars(own).items() if name != _MARK})
    made.site = site
    return made


def _read_plain(function: Any, site: Site, instance: Any, owner: Any) -> Any:
    cls = type(instance) if owner is None else owner
    called = site.name_for(instance, cls)
    if called is None:
        return site.natively(instance, cls)
    way = site.way(function, called, is_bound=False)
    if cls.__dict__.get(site.method) is not site.made and type(way) is FunctionType:
        # One of each class that has it: pickled by the name under which it is found again.
        way.__qualname__, way.__module__ = f"{cls.__qualname__}.{site.method}", cls.__module__
    return way


# --- looking whose call it is ---------------------------------------------------------------------

Chooser = Callable[[Any], Callable[..., Any]]


def _chooser(function: Any, site: Site) -> Chooser:
    """Of an instance, what a call of *function* with it runs instead."""
    if site.own is function and not site.is_inherited:
        return _plain_chooser(function, site)

    def way_for(instance: Any) -> Callable[..., Any]:
        cls = type(instance)
        called = site.name_for(instance, cls)
        if called is not None:
            return site.way(function, called, is_bound=True)  # type: ignore[no-any-return]  # a callable
        natively = site.natively(instance, cls)
        return lambda _, /, *args, **kwargs: natively(*args, **kwargs)  # noqa: PLW0108  without the first

    return way_for


def _plain_chooser(function: Any, site: Site) -> Chooser:
    """The usual case, written out: 250 ns less a call."""
    by_name, method = site.by_name, site.method

    def way_for(instance: Any) -> Callable[..., Any]:
        cls = type(instance)
        if getattr(cls, method, None) is not site.made:
            return function  # type: ignore[no-any-return]  # a callable
        try:
            name = getattr(instance, "name", None)
        except Exception as error:
            # A property is foreign code.
            if is_handlers(error):
                raise
            name = None
        called = name if type(name) is str else called_by(instance, cls)
        found = by_name.get(called)
        return site.way(function, called, is_bound=True) if found is None else found

    return way_for


def _dispatcher(function: Any, way_for: Chooser) -> Callable[..., Any]:
    """A method of the same kind as *function* that runs what *way_for* says of its instance."""
    kind = kind_of(function)
    if kind == "coroutine":

        async def dispatch_coroutine(self: Any, /, *args: Any, **kwargs: Any) -> Any:
            return await way_for(self)(self, *args, **kwargs)

        return dispatch_coroutine
    if kind == "generator":
        dispatch_generator = _generator_dispatcher(way_for)
        return as_iterable_coroutine(function, dispatch_generator)  # type: ignore[no-any-return]  # same
    if kind == "async generator":
        return _async_generator_dispatcher(way_for)

    def dispatch(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return way_for(self)(self, *args, **kwargs)

    return dispatch


def _generator_dispatcher(way_for: Chooser) -> Callable[..., Any]:
    # Written out: whoever closes what is behind a ``yield from`` never hears what comes of it.
    def dispatch(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        generator = way_for(self)(self, *args, **kwargs)
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            try:
                value = generator.send(sent) if thrown is None else generator.throw(thrown)
            except StopIteration as stop:
                return stop.value
            finally:
                # Also where it is raised: it knows this frame, and would be garbage for long.
                sent = thrown = None
            try:
                sent = yield value
            except BaseException as error:  # noqa: BLE001  thrown in by the caller, or a close
                thrown = error

    return dispatch


def _async_generator_dispatcher(way_for: Chooser) -> Callable[..., Any]:
    async def dispatch(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        generator = way_for(self)(self, *args, **kwargs)
        sent: Any = None
        thrown: BaseException | None = None
        is_first = True
        while True:
            try:
                value = await next_step(generator, sent, thrown, is_first=is_first)
            except StopAsyncIteration:
                return
            finally:
                # As above.
                sent = thrown = None
            is_first = False
            try:
                sent = yield value
            except BaseException as error:  # noqa: BLE001  thrown in by the caller, or a close
                thrown = error

    return dispatch
