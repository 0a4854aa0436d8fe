"""The global chain of a process, and what sends calls through it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import update_wrapper
from types import MethodType
from typing import Any

from shmperf.worker.classes import wrap_method

from .bugcatcher import BugCatcherInterceptor
from .chain import Context, InterceptorChain
from .perfcatcher import PerfCatcherInterceptor
from .tracking import OptimizedPerfTrackerInterceptor

__all__ = ["get_global_interceptor_chain", "intercept_class", "intercept_tool_call"]

# One a process; a dict's own operations are atomic, and a fork can't leave it locked.
_chains: dict[str, InterceptorChain] = {}


def get_global_interceptor_chain() -> InterceptorChain:
    """This process's chain: BugCatcher, PerfCatcher, the tracker, and what a program adds."""
    chain = _chains.get("global")
    if chain is None:
        chain = InterceptorChain()
        chain.add_interceptor(BugCatcherInterceptor())
        chain.add_interceptor(PerfCatcherInterceptor())
        chain.add_interceptor(OptimizedPerfTrackerInterceptor())
        chain = _chains.setdefault("global", chain)
    return chain


def intercept_tool_call(
    tool_name: str,
    tool_func: Callable[..., Any],
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    context: Context | None = None,
) -> Any:
    """Call *tool_func* through the global chain; see `InterceptorChain.intercept_tool_call`."""
    chain = _chains.get("global") or get_global_interceptor_chain()
    return chain.intercept_tool_call(tool_name, tool_func, args, kwargs, context)


def intercept_class(target: Any = None, /, *, method: str = "execute") -> Any:
    """
    On a base class: *method* of it and of every subclass goes through the global chain.

    ``@intercept_class``, ``@intercept_class(method=…)``, or ``intercept_class(Tool)`` for a class
    of somebody else's. A call goes by the instance's ``name`` when that is a string, else by the
    name of its class; a method that calls its parent's through ``super()`` is one call.
    """
    if target is None:
        return lambda found: wrap_method(found, method, _intercepted)
    return wrap_method(target, method, _intercepted)


def _intercepted(
    function: Callable[..., Any], called: str, /, *, is_bound: bool
) -> Callable[..., Any]:
    def way(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return intercept_tool_call(called, MethodType(function, self), args, kwargs)

    def way_alone(*args: Any, **kwargs: Any) -> Any:
        return intercept_tool_call(called, function, args, kwargs)

    return way if is_bound else update_wrapper(way_alone, function)
