"""Changing a framework's classes so that it can be undone exactly, for hooks that want it."""

from __future__ import annotations

import functools
import gc
import importlib
import importlib.metadata
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from shmperf.errors import IntegrationError
from shmperf.worker.wrappers import recipe_of, track_as

__all__ = ["equip", "imported", "live", "replace", "send_tracked", "undo_all"]

T = TypeVar("T")

_NOTHING = object()


def imported(module: str, *names: str, package: str, having: str) -> Any:
    """
    The *module*, in which *names* (dotted) are there.

    Raises IntegrationError otherwise: *having* says which versions of *package* have them.
    """
    try:
        found = importlib.import_module(module)
        for name in names:
            value: Any = found
            for part in name.split("."):
                value = getattr(value, part)
    except (ImportError, AttributeError) as error:
        raise IntegrationError(
            f"{package} {_version(package)} has not the hook ({error}); it takes {package} {having}"
        ) from None
    return found


def replace(owner: Any, name: str, value: Any) -> Callable[[], None]:
    """Set an attribute; the function that restores what was there, or that nothing was."""
    before = vars(owner).get(name, _NOTHING)
    setattr(owner, name, value)

    def restore() -> None:
        if before is _NOTHING:
            delattr(owner, name)
        else:
            setattr(owner, name, before)

    return restore


def live(cls: type[T]) -> list[T]:
    """The instances of *cls* that exist, but for those that ``gc.freeze`` has put out of sight."""
    # By the type: proxies and mocks run code when they are asked for their class.
    return [found for found in gc.get_objects() if issubclass(type(found), cls)]


def equip(
    cls: type[T], give: Callable[[T], object], take: Callable[[T], object], *known: T
) -> Callable[[], None]:
    """
    *give* something to the instances of *cls*: the *known*, those that exist, those that come.

    The function that lets *take* it from each of them again.
    """
    equipped: WeakValueDictionary[int, T] = WeakValueDictionary()

    def add(instance: T) -> None:
        if id(instance) not in equipped:
            give(instance)
            equipped[id(instance)] = instance

    for instance in (*known, *live(cls)):
        add(instance)
    init: Callable[..., None] = cls.__init__

    @functools.wraps(init)
    def init_and_add(self: T, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        add(self)

    def take_all() -> None:
        for instance in list(equipped.values()):
            take(instance)

    return undo_all(take_all, replace(cls, "__init__", init_and_add))


def send_tracked(pickler: Any) -> Callable[[], None]:
    """
    Let a cloudpickle *pickler* class send tracked functions by value: they are tracked anew there.

    What a tracked function is made of belongs to its process. Functions that can be imported are
    sent by name, as before.
    """
    original = pickler.reducer_override

    @functools.wraps(original)
    def reducer_override(self: Any, value: Any) -> Any:
        reduced = original(self, value)
        if type(value) is not FunctionType or reduced is NotImplemented:
            return reduced
        recipe = recipe_of(value)
        return reduced if recipe is None else (track_as, recipe)

    return replace(pickler, "reducer_override", reducer_override)


def undo_all(*undos: Callable[[], None]) -> Callable[[], None]:
    """One function that runs *undos*, the last first."""

    def undo() -> None:
        for step in reversed(undos):
            step()

    return undo


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "(unknown version)"
