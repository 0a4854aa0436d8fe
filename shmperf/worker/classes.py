"""One line on the base of a framework's tool classes: a method of it and of every subclass."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from shmperf.errors import Once, tell

from .failures import is_handlers
from .methods import replacement, site_of, static_attribute
from .wrappers import track_as

if TYPE_CHECKING:
    from .methods import Wrap

__all__ = ["track_class", "wrap_method"]

_MOST_TOLD = 100


def track_class(target: Any = None, /, *, method: str = "execute") -> Any:
    """
    On a base class: *method* of it and of every subclass is tracked, ``@track_class`` or with
    ``(method=…)``.

    A call is recorded under the instance's ``name`` when that is a string, else under the name of
    its class. A method that calls its parent's through ``super()`` is one call. Methods of every
    kind are recorded and stay of their kind, also those that a class has from another base; a
    property is refused with a TypeError, and in a subclass told once.
    """
    if target is None:
        return lambda found: wrap_method(found, method, _tracked)
    return wrap_method(target, method, _tracked)


def _tracked(function: Callable[..., Any], called: str, /, *, is_bound: bool) -> Any:  # noqa: ARG001  the others' signature
    return track_as(function, called, None)


def wrap_method(base: Any, method: str, wrap: Wrap) -> Any:
    """*base*, with *method* of it and of every subclass replaced by what *wrap* makes of it."""
    if not isinstance(base, type):
        hint = f": track_class(method={base!r})" if isinstance(base, str) else ""
        raise TypeError(f"found {type(base).__name__}, expected a class{hint}")
    refused = _see_to(base, method, wrap)
    if refused:
        raise TypeError(refused)
    _hook(base, [(method, wrap)])
    for cls in _subclasses(base):
        _see_to_all(cls, [(method, wrap)])
    return base


def _subclasses(base: type[Any]) -> list[type[Any]]:
    # Not what its metaclass, foreign code, makes of the question.
    return [found for cls in type.__subclasses__(base) for found in (cls, *_subclasses(cls))]


# --- subclasses -----------------------------------------------------------------------------------


class _Hook(classmethod):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A class's ``__init_subclass__`` that sees to the methods of each new subclass as well."""

    methods: list[tuple[str, Wrap]]

    def __reduce__(self) -> Any:
        # Its function knows it: so it is made first, and gets that afterwards.
        return _Hook, (None,), (self.__func__, self.methods)

    def __setstate__(self, state: tuple[Any, list[tuple[str, Wrap]]]) -> None:
        classmethod.__init__(self, state[0])
        self.methods = state[1]


def _hook(cls: Any, methods: list[tuple[str, Wrap]]) -> None:
    """Let every subclass of *cls* be seen to, whatever its own ``__init_subclass__`` calls."""
    inherited = cls.__dict__.get("__init_subclass__")
    if isinstance(inherited, _Hook):
        inherited.methods.extend(one for one in methods if one not in inherited.methods)
        return

    def init_subclass(made: Any, /, **kwargs: Any) -> None:
        if inherited is not None:
            inherited.__get__(None, made)(**kwargs)
        else:
            super(_owner(made, hook), made).__init_subclass__(**kwargs)
        _see_to_all(made, hook.methods)

    if inherited is not None:
        functools.update_wrapper(init_subclass, getattr(inherited, "__func__", inherited))
    hook = _Hook(init_subclass)
    hook.methods = list(methods)
    cls.__init_subclass__ = hook


def _owner(cls: type, hook: _Hook) -> Any:
    """Who has *hook*: a dataclass with slots is another class than the one that got it."""
    return next(base for base in cls.__mro__ if base.__dict__.get("__init_subclass__") is hook)


_told = Once()


def _see_to_all(cls: Any, methods: list[tuple[str, Wrap]]) -> None:
    """See to a subclass; what goes wrong is told, and the class is as its program made it."""
    try:
        for method, wrap in list(methods):
            refused = _see_to(cls, method, wrap)
            if refused and len(_told) < _MOST_TOLD and _told.claim(refused):
                tell(f"not recorded: {refused}")
        if "__init_subclass__" in cls.__dict__:
            _hook(cls, methods)
    except Exception as error:
        # A metaclass is foreign code.
        if is_handlers(error):
            raise
        tell(f"not recorded: {cls!r}: {type(error).__name__}: {error}")


def _see_to(cls: Any, method: str, wrap: Wrap) -> str | None:
    """Replace what *cls* has as *method*; why not, where it should be and can't."""
    own = static_attribute(cls, method)
    is_inherited = method not in cls.__dict__
    site = site_of(own)
    if site is not None:
        if not (is_inherited and site.is_inherited) or site.beneath(cls) is site.own:
            return None
        # Another of its bases comes before what the first one has from beside.
        own = site.beneath(cls)
    if own is None or site_of(own) or getattr(own, "__isabstractmethod__", False) is True:
        return None
    if is_inherited and object.__dict__.get(method) is own:
        return None
    made = replacement(own, method, wrap, is_inherited=is_inherited)
    if made is not None:
        setattr(cls, method, made)
        return None
    if not hasattr(type(own), "__get__") and not callable(own):
        # A value that is no method at all.
        return None
    kind = "class" if isinstance(own, type) else type(own).__name__
    return f"{cls.__qualname__}.{method} is a {kind}, expected a method: put @track on what it runs"
