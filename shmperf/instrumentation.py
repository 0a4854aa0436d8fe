"""
One switch for every integration: `instrument` and `uninstrument`.

An integration is a module of `shmperf.integrations` with a function ``attach``, which hooks into
its framework and returns the function that takes the hook out again. It imports its framework
inside ``attach`` and raises `IntegrationError` where the installed version lacks the hook.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

from .errors import IntegrationError

__all__ = ["KNOWN", "installed", "instrument", "uninstrument"]

# The name that users write: the package that must be there, and the integration's module.
KNOWN = {
    "multiprocessing": ("multiprocessing", "pools"),
    "concurrent.futures": ("concurrent.futures", "executors"),
    "threading": ("threading", "threads"),
    "langchain": ("langchain_core", "langchain"),
    "mcp": ("mcp", "mcp"),
    "fastmcp": ("fastmcp", "fastmcp"),
    "openai-agents": ("agents", "openai_agents"),
    "pydantic-ai": ("pydantic_ai", "pydantic_ai"),
    "opentelemetry": ("opentelemetry.sdk", "opentelemetry"),
    "celery": ("celery", "celery"),
    "dask": ("distributed", "dask"),
    "ray": ("ray", "ray"),
}

_attached: dict[str, Callable[[], None]] = {}


def installed() -> list[str]:
    """The names whose frameworks are installed."""
    return [name for name, (package, _) in KNOWN.items() if _is_installed(package)]


def instrument(*names: str) -> list[str]:
    """
    Track the calls of the named frameworks, of every installed one without names; twice is once.

    Returns the names that are switched on. Raises IntegrationError for a name that is not known, a
    framework that is not installed or a version that has not the hook.
    """
    _refuse_unknown(names)
    for name in names or installed():
        if name not in _attached:
            _attached[name] = _attach(name)
    return list(_attached)


def uninstrument(*names: str) -> list[str]:
    """Take the hooks out again, all of them without names; returns the names still switched on."""
    _refuse_unknown(names)
    for name in names or tuple(_attached):
        undo = _attached.pop(name, None)
        if undo is not None:
            undo()
    return list(_attached)


def _attach(name: str) -> Callable[[], None]:
    package, module = KNOWN[name]
    if not _is_installed(package):
        raise IntegrationError(f"{name} is not installed: pip install 'shmperf[{name}]'")
    found = importlib.import_module(f"{__package__}.integrations.{module}")
    attach: Callable[[], Callable[[], None]] = found.attach
    return attach()


def _is_installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a parent package is missing
        return False


def _refuse_unknown(names: tuple[str, ...]) -> None:
    unknown = [name for name in names if name not in KNOWN]
    if unknown:
        raise IntegrationError(f"unknown: {', '.join(unknown)}; known: {', '.join(KNOWN)}")
