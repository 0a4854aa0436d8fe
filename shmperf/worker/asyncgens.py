"""Async generators inside others: a loop that ends must know of the outer ones alone."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

from .failures import is_programs

__all__ = ["next_step"]


def next_step(
    generator: AsyncGenerator[Any, Any],
    sent: Any,
    thrown: BaseException | None,
    *,
    is_first: bool,
) -> Any:
    """
    What awaits the next step of a *generator* that another one closes.

    A loop that ends closes all that have been started in it, at once; one of these two would find
    the other closing. So this one is not made known to it at its first step.
    """
    if not is_first:
        return generator.asend(sent) if thrown is None else generator.athrow(thrown)
    hooks: list[Any] = []
    try:
        _hide(hooks)
        return generator.__anext__()
    finally:
        if hooks:
            _restore(*hooks[0])


def _hide(hooks: list[Any]) -> None:
    """Take the loop's hooks away, into *hooks*."""
    try:
        hooks.append(tuple(sys.get_asyncgen_hooks()))
        sys.set_asyncgen_hooks(None, None)
    except Exception as error:
        # Then the loop knows it, and may say so at its end.
        if is_programs(error):
            raise


def _restore(first: Any, last: Any) -> None:
    try:
        sys.set_asyncgen_hooks(first, last)
    except Exception as error:
        # Once more: without them the loop would not know of its own.
        sys.set_asyncgen_hooks(first, last)
        if is_programs(error):
            raise
