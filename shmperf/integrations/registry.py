"""
One switch for every integration: `instrument` and `uninstrument`.

An integration is a module of `shmperf.integrations` with a function ``attach``, which hooks into
its framework and returns the function that takes the hook out again. It imports its framework
inside ``attach`` and raises `IntegrationError` where the installed version lacks the hook.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

from shmperf.errors import IntegrationError

from .import_hooks import when_imported

__all__ = [
    "ALL",
    "KNOWN",
    "installed",
    "instrument",
    "instrument_when_imported",
    "refuse_unknown",
    "uninstrument",
]

# What stands for every name on the command line.
ALL = "auto"


class Integration(NamedTuple):
    """The package that must be there, our module, and the modules whose import says it is used."""

    package: str
    module: str
    awaited: tuple[str, ...]


# By the name that users write.
KNOWN = {
    "multiprocessing": Integration("multiprocessing", "pools", ("multiprocessing.pool",)),
    "concurrent.futures": Integration(
        "concurrent.futures",
        "executors",
        ("concurrent.futures.thread", "concurrent.futures.process"),
    ),
    "threading": Integration("threading", "threads", ("threading",)),
    "langchain": Integration("langchain_core", "langchain", ("langchain_core",)),
    "mcp": Integration("mcp", "mcp", ("mcp",)),
    "fastmcp": Integration("fastmcp", "fastmcp", ("fastmcp",)),
    "openai-agents": Integration("agents", "openai_agents", ("agents",)),
    "pydantic-ai": Integration("pydantic_ai", "pydantic_ai", ("pydantic_ai",)),
    "opentelemetry": Integration(
        "opentelemetry.sdk", "opentelemetry", ("opentelemetry.sdk.trace",)
    ),
    "celery": Integration("celery", "celery", ("celery",)),
    "dask": Integration("distributed", "dask", ("distributed",)),
    "joblib": Integration("joblib", "joblib", ("joblib",)),
    "loky": Integration("loky", "loky", ("loky",)),
    "ray": Integration("ray", "ray", ("ray",)),
}

# What takes the hooks out again, and what gives up waiting for a framework's import.
_attached: dict[str, Callable[[], None]] = {}
_awaited: dict[str, list[Callable[[], None]]] = {}


def installed() -> list[str]:
    """The names whose frameworks are installed."""
    return [name for name, known in KNOWN.items() if _is_installed(known.package)]


def instrument(*names: str) -> list[str]:
    """
    Track the calls of the named frameworks; twice is once.

    Without names: of every installed one, those that the program has imported now and the others
    when it imports them, so that none is imported only for this. There, a version that has not the
    hook is told and passed over.

    Returns the names that are switched on. Raises IntegrationError for a name that is not known, a
    framework that is not installed or a version that has not the hook.
    """
    refuse_unknown(names)
    for name in names:
        if name not in _attached:
            attached = _attach(name)
            _stop_waiting(name)
            _attached[name] = attached
    if not names:
        instrument_when_imported(installed())
    return _switched_on()


def instrument_when_imported(names: Iterable[str]) -> None:
    """Switch each of *names*, ``auto`` for all, on as soon as its framework has been imported."""
    wanted = set(names)
    for name, known in KNOWN.items():
        if (name in wanted or ALL in wanted) and name not in _attached and name not in _awaited:
            _await(name, known.awaited)


def uninstrument(*names: str) -> list[str]:
    """Take the hooks out again, all of them without names; returns the names still switched on."""
    refuse_unknown(names)
    for name in names or tuple(KNOWN):
        _stop_waiting(name)
        undo = _attached.pop(name, None)
        if undo is not None:
            undo()
    return _switched_on()


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise IntegrationError, which lists the known names, for one that is not among them."""
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise IntegrationError(f"unknown: {', '.join(unknown)}; known: {', '.join(KNOWN)}")


def _await(name: str, modules: Iterable[str]) -> None:
    waiting = _awaited[name] = []
    for module in modules:
        give_up = when_imported(module, partial(_arrived, name))
        if name not in _awaited:
            break
        waiting.append(give_up)


def _arrived(name: str) -> None:
    if name in _awaited:
        _stop_waiting(name)
        _attached[name] = _attach(name)


def _stop_waiting(name: str) -> None:
    for give_up in _awaited.pop(name, ()):
        give_up()


def _switched_on() -> list[str]:
    return [name for name in KNOWN if name in _attached or name in _awaited]


def _attach(name: str) -> Callable[[], None]:
    known = KNOWN[name]
    if not _is_installed(known.package):
        raise IntegrationError(f"{name} is not installed: pip install 'shmperf[{name}]'")
    found = importlib.import_module(f"{__package__}.{known.module}")
    attach: Callable[[], Callable[[], None]] = found.attach
    return attach()


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False
