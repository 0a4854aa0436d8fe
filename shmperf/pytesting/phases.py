"""
Tests as calls: ``test``, with ``test setup`` before it and ``test teardown`` behind.

All tests share these three names, and a test's own is the parameter ``test``: a name for each
would cost a ring in every process. What tests take one by one pytest measures itself.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Self

import pytest

from shmperf.shm.record import Callee
from shmperf.worker.context import Loose, Pair, current_call, outermost_open
from shmperf.worker.gcwatch import is_collecting
from shmperf.worker.opencall import OpenCall, new_call
from shmperf.worker.process import Tool, tool_named, worker
from shmperf.worker.quickcall import QuickCall

__all__ = ["CALL", "PHASES", "Phases"]

CALL = "test"
PHASES = {"setup": "test setup", "call": CALL, "teardown": "test teardown"}

# No errors: they are raised to say so.
_OUTCOMES = {pytest.skip.Exception: "skipped", pytest.xfail.Exception: "xfailed"}

Steps = Generator[None, Any, Any]


class Phases:
    """Around each phase of each test, in the process that runs it."""

    def __init__(self) -> None:
        tools = {phase: tool_named(name) for phase, name in PHASES.items()}
        # By its place, so that a record holds the test's name alone, and is read as the simplest.
        self._known = {
            phase: (tool, worker.callee(tool, Callee(tool.name, ("test",))))
            for phase, tool in tools.items()
        }

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> Steps:
        """Its fixtures are made, those of its module and session too if it is the first."""
        return (yield from _recorded(_Phase(*self._known["setup"], item.nodeid)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Steps:
        """It runs."""
        return (yield from _recorded(_Phase(*self._known["call"], item.nodeid)))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Steps:
        """Its fixtures are taken down."""
        return (yield from _recorded(_Phase(*self._known["teardown"], item.nodeid)))


def _recorded(phase: _Phase) -> Steps:
    try:
        phase.begin()
        result = yield
    except BaseException as error:
        # Its error, or who is struck in its beginning: nobody else would end it.
        phase.end(error)
        raise
    phase.end(None)
    return result


class _Phase(QuickCall):
    """
    One phase: what begins inside it, such as a fixture, may end in another one.

    So it is current as a block is that may end anywhere, and is recorded as quickly as any.
    """

    __slots__ = ("_loose",)

    def __init__(self, tool: Tool, callee: int, test: str) -> None:
        self._tool, self._callee, self._args, self._kwargs = tool, callee, (test,), {}
        self._row = self._call_id = 0
        self._opened = None
        self._loose: Loose | None = None

    def begin(self) -> None:
        """Begin it, if it is recorded, and make it current."""
        self._enter(in_order=True)
        if self._row and not is_collecting():
            self._loose = Loose(self._call_id, self._outer)
            self._loose.enter()

    def end(self, error: BaseException | None) -> None:
        """End it, if it is recorded, and restore the context."""
        for kind, outcome in _OUTCOMES.items() if error is not None else ():
            if isinstance(error, kind):
                self._note({"outcome": outcome})
                error = None
        try:
            self._close(error)
        except BaseException:
            # An interruption of the end: ended, and passed on.
            self._close(error)
            raise

    def _close(self, error: BaseException | None) -> None:
        if self._loose is not None:
            self._loose.is_open = False
        self._exit(None, error, None)

    def _enter_anyhow(self, *, in_order: bool) -> Self:  # noqa: ARG002  it is never left in order
        opened = self._opened = new_call(self._tool, self._callee)
        opened.open(self._args, self._kwargs, in_order=False)
        return self

    def _leave(self, now: int | Pair) -> None:
        if now is self._loose and worker.heritage is None and not is_collecting():
            current_call.set(outermost_open(self._outer))
        else:
            super()._leave(now)

    def _resumed(self) -> OpenCall:
        opened = super()._resumed()
        opened.loose = self._loose
        return opened
