"""Parameters by name: what is picked out of a call's arguments is what the function gets."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import pytest

from shmperf.worker.signature import Chosen, positional_names


def every(
    a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, d: Any = 4, e: Any = 5, **more: Any
) -> None:
    """Every kind of parameter."""


def by_name(a: Any, *, k: Any = 1) -> None:
    """One that only comes by its name."""


def beside_rest(a: Any, *rest: Any, k: Any = 1) -> None:
    """The same, with positional ones beyond the named."""


_CALLS = [
    (every, (1,), {}),
    (every, (1, 20), {"d": 40}),
    (every, (1, 20, 30, 31, 32), {"e": 50, "z": 1}),
    (every, (1,), {"c": 30, "a": "in more"}),
    (by_name, (1,), {"k": 2}),
    (by_name, (), {"a": 1}),
    (beside_rest, (1, 2, 3), {}),
    (beside_rest, (1, 2, 3), {"k": 4}),
    (functools.partial(every, 1), (20,), {"c": 3}),
]


@pytest.mark.parametrize(("function", "args", "kwargs"), _CALLS)
@pytest.mark.parametrize("asked", ["a", "b c", "d e", "k", "rest", "more", "a rest e", "unknown"])
def test_chosen_parameters_are_those_that_the_function_gets(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], asked: str
) -> None:
    """Binding the whole call by the standard library's signature finds the same."""
    names = asked.split()
    bound = inspect.signature(function).bind(*args, **kwargs).arguments
    expected = {name: bound[name] for name in names if name in bound}
    assert Chosen(function, names).of(args, kwargs) == expected


class Unreadable:
    """Something called whose signature can't be read."""

    __signature__ = "none"

    def __call__(self, a: Any) -> None:
        """Called like any other."""


def test_what_has_no_signature_has_no_parameters() -> None:
    """Nothing is raised where there is nothing to read."""
    assert positional_names(Unreadable()) == ((), None, False)
    assert Chosen(Unreadable(), ["a"]).of((), {"a": 1}) == {}
