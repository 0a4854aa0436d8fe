"""
A generator's call, which is current inside its steps and never between two of them.

So are blocks that are open inside the generator when it yields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

from shmperf.compiled.chosen import hot
from shmperf.shm.inflight import FIRST_UNRECORDED

from .context import current_call, outermost_open
from .failures import is_programs
from .gcwatch import collecting, is_collecting
from .opencall import OpenCall, new_call
from .process import Tool, worker
from .quickcall import WrittenCall

if TYPE_CHECKING:
    from .hotpath import Wrapped

__all__ = ["SteppedCall", "stepped_call"]


class SteppedCall(WrittenCall):
    """Open from its first step to its end; it may begin in one thread and end in another."""

    __slots__ = ()

    _times_cpu = False

    def step_out(self) -> None:
        """A step is over: what was current before it is so again."""
        if not self._row:
            if self._opened is not None:
                _step_out(self._opened)
            return
        try:
            outer = self._outer
            is_plain = type(outer) is int and worker.heritage is None and not collecting
            if is_plain and current_call.get() == self._call_id:
                current_call.set(outer)  # point: stepped-out
                return
        except Exception as error:
            # It is looked at once more, the long way.
            if is_programs(error):
                raise
        # Something is open inside, or what was current has ended: from here on the long way.
        _step_out(self._call())

    def step_in(self) -> None:
        """The next step begins."""
        if not self._row:
            if self._opened is not None:
                _step_in(self._opened)
            return
        try:
            if not collecting:
                self._outer = current_call.get()
                current_call.set(self._call_id)  # point: stepped-in
        except Exception as error:
            # The step is made whatever fails in here.
            if is_programs(error):
                raise


if hot is not None:
    hot.adopt_stepped(SteppedCall.step_in, SteppedCall.step_out)
    # The two in C turn to these for what is rare.
    for _name in ("step_in", "step_out"):
        setattr(SteppedCall, _name, getattr(hot.Steps, f"_{_name}"))


class _NeverStepped(SteppedCall):
    """What stands in for a call that there is no memory for."""

    __slots__ = ()

    def open(self, in_order: bool = False) -> Self:  # noqa: ARG002  as for the others
        """It never begins."""
        return self

    def call(self) -> OpenCall:
        """One that never begins either."""
        return new_call(self._tool, 0)


_never = _NeverStepped(Tool(""), 0, (), {})


def stepped_call(wrapped: Wrapped, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> SteppedCall:
    """A call with these arguments that has not begun; one that never does without memory for it."""
    try:
        return SteppedCall(wrapped.tool, wrapped.callee, *wrapped.recorded(args, kwargs))
    except Exception as error:
        # No memory, perhaps.
        if is_programs(error):
            raise
        return _never


def _step_in(opened: OpenCall) -> None:
    """The same the long way, for what is open inside the generator as well."""
    try:
        call_id = opened.call_id
        if call_id:
            opened.outer = current_call.get()
            if call_id < FIRST_UNRECORDED and not opened.inner and not collecting:
                # Nothing is open inside: so it mostly is.
                current_call.set(call_id)
                return
            opened.enter()
            inner = outermost_open(opened.inner)
            if inner and inner != opened.call_id and not is_collecting():
                current_call.set(inner)
    except Exception as error:
        # The step is made whatever fails in here.
        if is_programs(error):
            raise


def _step_out(opened: OpenCall) -> None:
    """The same, noting what is open inside."""
    is_out = False
    try:
        outer = opened.outer
        if (
            current_call.get() == opened.call_id
            and type(outer) is int
            and worker.heritage is None
            and not collecting
        ):
            # As above; and what was current before has not ended since.
            opened.inner = 0
            current_call.set(outer)
            is_out = True
        else:
            opened.inner = opened.innermost()
    except Exception as error:
        # What is open inside has no children in the next step.
        opened.inner = 0
        if is_programs(error):
            raise
    finally:
        if not is_out:
            opened.leave()
