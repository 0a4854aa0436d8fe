"""
Doing something when a module is imported, if it ever is.

The module's own loader loads it, and is left as it was; what runs behind it may import what it
likes. A loader that can't be told (of a built-in or frozen module) is left alone, and nothing runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from shmperf.errors import tell

__all__ = ["when_imported"]


def when_imported(name: str, callback: Callable[[], object]) -> Callable[[], None]:
    """
    Call *callback* once, right after the module *name* was imported, or now if it has been.

    Returns the function that takes it back. What the callback raises is told, in one line: an
    import never fails because of it.
    """
    if name in sys.modules:
        _run(callback)
        return lambda: None
    _finder.awaited.setdefault(name, []).append(callback)
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
    return partial(_finder.forget, name, callback)


class _Finder:
    """Finds what the others find, and has its loader run the callbacks behind it."""

    def __init__(self) -> None:
        self.awaited: dict[str, list[Callable[[], object]]] = {}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.awaited:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(name, path, target)
            if spec is not None:
                self._follow(name, spec.loader)
                return spec
        return None

    def forget(self, name: str, callback: Callable[[], object]) -> None:
        """Run that *callback* no more."""
        callbacks = self.awaited.get(name, [])
        if callback in callbacks:
            callbacks.remove(callback)
        if not callbacks:
            self._pop(name)

    def _pop(self, name: str) -> list[Callable[[], object]]:
        found = self.awaited.pop(name, [])
        if not self.awaited and self in sys.meta_path:
            sys.meta_path.remove(self)
        return found

    def _follow(self, name: str, loader: Any) -> None:
        load = getattr(loader, "exec_module", None)
        if load is None or isinstance(loader, type):
            return

        def exec_module(module: ModuleType) -> None:
            # Some loaders load many modules.
            del loader.exec_module
            load(module)
            if module.__name__ == name:
                for callback in self._pop(name):
                    _run(callback)

        try:
            loader.exec_module = exec_module
        except AttributeError:
            return


_finder = _Finder()


def _run(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception as error:  # noqa: BLE001  somebody's import must not fail because of us
        tell(str(error))
