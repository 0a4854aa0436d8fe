"""Async generators inside others: a loop that ends must know of the outer ones alone."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

from .failures import is_programs

__all__ = ["first_step"]


def first_step(generator: AsyncGenerator[Any, Any]) -> Any:
    """
    What awaits the first step of a *generator* that another one closes.

    A loop that ends closes all that have been started in it, at once; one of these two would find
    the other closing. So this one is not made known to it.
    """
    hooks: list[Any] = []
    try:
        _hide(hooks)
        return generator.__anext__()
    finally:
        for first, last in hooks:
            sys.set_asyncgen_hooks(first, last)


def _hide(hooks: list[Any]) -> None:
    """Take the loop's hooks away, into *hooks*."""
    try:
        hooks.append(tuple(sys.get_asyncgen_hooks()))
        sys.set_asyncgen_hooks(None, None)
    except Exception as error:
        # Then the loop knows it, and may say so at its end.
        if is_programs(error):
            raise
