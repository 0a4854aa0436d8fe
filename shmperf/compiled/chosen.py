"""
Which path runs: the compiled one, `shmperf._hot`, or the same in Python.

It is built when the package is installed, where there is a compiler, from the sources beside this
file. What imports it asks here, and does the same in Python where `hot` is None.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

__all__ = ["INTERFACE", "hot", "is_off", "path", "unbuilt_file", "why_not"]

_NAME = "shmperf._hot"
_SWITCH = "SHMPERF_COMPILED"
# Counted up with every change of what Python and C expect of each other.
INTERFACE = 7


def unbuilt_file(cache_tag: str | None = None) -> str:
    """Beside the package's modules: why there is no compiled one for a Python of that tag."""
    return f"_hot-{cache_tag or sys.implementation.cache_tag}.txt"


def _found() -> tuple[Any, str]:
    if is_off():
        return None, f"{_SWITCH}=0"
    try:
        found: Any = importlib.import_module(_NAME)
    except ImportError as error:
        return None, _reason(error)
    if found.INTERFACE != INTERFACE:
        return None, "it is of another version: install shmperf anew"
    return found, ""


def _reason(error: ImportError) -> str:
    place = os.path.join(os.path.dirname(os.path.dirname(__file__)), unbuilt_file())  # noqa: PTH118, PTH120  pathlib costs more than all else here
    try:
        with open(place, encoding="utf-8") as file:  # noqa: PTH123  the same
            return file.read(400).strip()
    except OSError:
        return f"not built ({error})"


def is_off() -> bool:
    """True when the environment leaves it aside."""
    return os.environ.get(_SWITCH) == "0"


def path() -> str:
    """Which path runs, and why not the other, as people are told."""
    return "pure Python" + f" ({why_not})" * bool(why_not) if hot is None else "compiled"


hot, why_not = _found()
