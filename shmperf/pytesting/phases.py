"""
Tests as calls: ``test``, with ``test setup`` before it and ``test teardown`` behind.

All tests share these three names, and a test's own is the parameter ``test``: a name for each
would cost a ring in every process. What tests take one by one pytest measures itself.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

import shmperf

__all__ = ["CALL", "PHASES", "Phases"]

CALL = "test"
PHASES = {"setup": "test setup", "call": CALL, "teardown": "test teardown"}

# No errors: they are raised to say so.
_OUTCOMES = {pytest.skip.Exception: "skipped", pytest.xfail.Exception: "xfailed"}

Steps = Generator[None, Any, Any]


class Phases:
    """Around each phase of each test, in the process that runs it."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Steps:
        """Its fixtures are made, those of its module and session too if it is the first."""
        return (yield from _recorded("setup", item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Steps:
        """It runs."""
        return (yield from _recorded("call", item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Steps:
        """Its fixtures are taken down."""
        return (yield from _recorded("teardown", item))


def _recorded(phase: str, item: pytest.Item) -> Steps:
    excused: BaseException
    with shmperf.call(PHASES[phase], test=item.nodeid) as call:
        try:
            return (yield)
        except tuple(_OUTCOMES) as error:
            call.annotate(outcome=_OUTCOMES[type(error)])
            excused = error
    raise excused
