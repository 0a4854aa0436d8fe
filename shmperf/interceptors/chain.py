"""
Interceptors: code around every tool call, in order of priority, that can never fail the tool.

    before_execution   in order, the lowest priority number first: it is the outermost
    the tool
    after_execution    in reverse order, each gets what the one before made of the result
    on_exception       in order, instead of after_execution; one True suppresses the exception

What a hook raises is told once on the ``shmperf`` logger and passed over; `KeyboardInterrupt` and
its like, and what a signal handler raises in the middle of one, are nobody's to swallow. An
asynchronous tool is awaited in the middle: the call returns a coroutine, and nothing happens before
that is awaited.

Three interceptors make up the global chain. What they know of a call is in its context, under the
key ``shmperf`` and until the call ends; an interceptor that returns another context loses nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from inspect import CO_COROUTINE
from types import CodeType, CoroutineType
from typing import Any

from shmperf.errors import Once, tell
from shmperf.stdlib import perf_counter_ns
from shmperf.worker.capture import error_text
from shmperf.worker.context import Pair, current_call
from shmperf.worker.failures import is_handlers, is_programs

from .passage import Passage

__all__ = ["PASSAGE", "Context", "InterceptorChain", "InterceptorPriority", "ToolInterceptor"]

Context = dict[str, Any]

PASSAGE = "shmperf"
_MOST_TOLD = 1_000
_OURS = __name__.partition(".")[0] + "."


class InterceptorPriority(Enum):
    """Where an interceptor stands; the lowest number is the outermost."""

    FIRST = 0
    HIGH = 10
    NORMAL = 50
    LOW = 90
    LAST = 100


class ToolInterceptor:
    """
    One interceptor: override what is wanted. ``enabled`` may be switched at any time.

    A class that says ``wants_call`` finds a `Passage` in the context, one that says ``takes_time``
    leaves the call's times in it.
    """

    wants_call = False
    takes_time = False
    priority = InterceptorPriority.NORMAL
    enabled = True

    def __init__(self, priority: InterceptorPriority = InterceptorPriority.NORMAL) -> None:
        self.priority = priority
        self.enabled = True

    def before_execution(
        self,
        tool_name: str,  # noqa: ARG002  here and below: for those who override it
        args: tuple[Any, ...],  # noqa: ARG002  for subclasses to use
        kwargs: Mapping[str, Any],  # noqa: ARG002  for subclasses to use
        context: Context,
    ) -> Context:
        """Before the tool; returns the context for whoever comes next."""
        return context

    def after_execution(self, tool_name: str, result: Any, context: Context) -> Any:  # noqa: ARG002  for subclasses to use
        """After the tool has returned; returns the result, this one or another."""
        return result

    def on_exception(
        self,
        tool_name: str,  # noqa: ARG002  for subclasses to use
        exception: BaseException,  # noqa: ARG002  for subclasses to use
        context: Context,  # noqa: ARG002  for subclasses to use
    ) -> bool:
        """After the tool has raised; True suppresses: the call then returns None."""
        return False


class InterceptorChain:
    """Interceptors in their order; any thread may call through it while another changes it."""

    def __init__(self) -> None:
        self.interceptors: list[ToolInterceptor] = []
        self._is_wanted = self._is_timed = False

    def add_interceptor(self, interceptor: ToolInterceptor) -> None:
        """Put *interceptor* in its place; of one priority, the first added is the outermost."""
        self._put([*self.interceptors, interceptor])

    def remove_interceptor(self, interceptor_type: type) -> None:
        """Take out every interceptor of that type."""
        self._put([i for i in self.interceptors if not isinstance(i, interceptor_type)])

    def _put(self, interceptors: list[ToolInterceptor]) -> None:
        # Another list and not this one: calls that are under way go on with theirs.
        self.interceptors = sorted(interceptors, key=lambda i: i.priority.value)
        self._is_wanted = any(i.wants_call for i in interceptors)
        self._is_timed = any(i.takes_time for i in interceptors)

    def intercept_tool_call(
        self,
        tool_name: str,
        tool_func: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        context: Context | None = None,
    ) -> Any:
        """
        Call *tool_func* with every enabled interceptor around it.

        Returns its result, or what interceptors made of it; None when its exception was suppressed.
        For an asynchronous function a coroutine that does all of this when it is awaited.
        """
        code = getattr(tool_func, "__code__", None)
        if code.co_flags & CO_COROUTINE if type(code) is CodeType else _is_async(tool_func):
            return self._intercept_coroutine(tool_name, tool_func, args, kwargs, context)
        if kwargs is None:
            kwargs = {}
        known = {} if context is None else context
        passage = None
        entered: list[ToolInterceptor] = []
        try:
            try:
                if self._is_wanted:
                    passage = Passage(tool_func, args, kwargs, True)
                    known = self._claimed(passage, context)
                known = self._enter(entered, tool_name, args, kwargs, known)
            except Exception as error:
                # The tool is called whatever fails in here.
                if is_programs(error):
                    raise
            result = tool_func(*args, **kwargs)
            if type(result) is not CoroutineType:
                return _leave(entered, tool_name, result, known)
        except BaseException as error:
            # Shown to the interceptors, then passed on.
            try:
                if _is_suppressed(entered, tool_name, error, known):
                    return None
            except BaseException as struck:
                # Struck before they had all heard.
                _end_all_the_same(known, error)
                if is_programs(struck):
                    raise
            raise
        finally:
            if context is not None and context.get(PASSAGE) is passage:
                context.pop(PASSAGE, None)
        # A plain function that hands out a coroutine: the call goes on where that is awaited.
        return self._finish_coroutine(_carried(result, passage), entered, tool_name, known)

    async def _intercept_coroutine(
        self,
        tool_name: str,
        tool_func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any] | None,
        context: Context | None,
    ) -> Any:
        given = {} if kwargs is None else kwargs
        known = {} if context is None else context
        passage = None
        entered: list[ToolInterceptor] = []
        try:
            try:
                if self._is_wanted:
                    passage = Passage(tool_func, args, given)
                    known = self._claimed(passage, context)
                known = self._enter(entered, tool_name, args, given, known)
            except Exception as error:
                # The tool is called whatever fails in here.
                if is_programs(error):
                    raise
            result = await tool_func(*args, **given)
            return _leave(entered, tool_name, result, known)
        except BaseException as error:
            # Shown to the interceptors, then passed on.
            try:
                if _is_suppressed(entered, tool_name, error, known):
                    return None
            except BaseException as struck:
                # Struck before they had all heard.
                _end_all_the_same(known, error)
                if is_programs(struck):
                    raise
            raise
        finally:
            if context is not None and context.get(PASSAGE) is passage:
                context.pop(PASSAGE, None)

    async def _finish_coroutine(
        self,
        coroutine: Coroutine[Any, Any, Any],
        entered: list[ToolInterceptor],
        tool_name: str,
        known: Context,
    ) -> Any:
        try:
            return _leave(entered, tool_name, await coroutine, known)
        except BaseException as error:
            # Shown to the interceptors, then passed on.
            try:
                if _is_suppressed(entered, tool_name, error, known):
                    return None
            except BaseException as struck:
                # Struck before they had all heard.
                _end_all_the_same(known, error)
                if is_programs(struck):
                    raise
            raise

    def _claimed(self, passage: Passage, context: Context | None) -> Context:
        """
        *context* with *passage* in it; a copy when another call is using it.

        A program may hand one context down to nested calls, or to several at once.
        """
        if not self._is_timed:
            passage.start_ns = perf_counter_ns()
        if context is None:
            return {PASSAGE: passage}
        if context.setdefault(PASSAGE, passage) is passage:
            return context
        return {**context, PASSAGE: passage}

    def _enter(
        self,
        entered: list[ToolInterceptor],
        tool_name: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        context: Context,
    ) -> Context:
        """Every enabled interceptor's first hook; *entered* are those whose others will follow."""
        for interceptor in self.interceptors:
            try:
                if interceptor.enabled:
                    entered.append(interceptor)
                    given = interceptor.before_execution(tool_name, args, kwargs, context)
                    if given is not context:
                        context = _taken_over(context, given)
            except Exception as error:
                # An interceptor is foreign code.
                if _is_interruption(interceptor, error):
                    raise
                _report(interceptor, "before_execution", error)
        return context


def _leave(entered: list[ToolInterceptor], tool_name: str, result: Any, context: Context) -> Any:
    # No iterator, which takes memory: each one that has entered is to hear of the end.
    at = len(entered)
    while at:
        at -= 1
        interceptor = entered[at]
        try:
            result = interceptor.after_execution(tool_name, result, context)
        except Exception as error:
            # An interceptor is foreign code.
            if _is_interruption(interceptor, error):
                raise
            _report(interceptor, "after_execution", error)
            if interceptor.takes_time:
                _end_all_the_same(context, None)
    return result


def _is_suppressed(
    entered: list[ToolInterceptor], tool_name: str, error: BaseException, context: Context
) -> bool:
    """Tell all of *error*; True when one suppresses it. What ends a program is never suppressed."""
    suppressed = False
    struck: BaseException | None = None
    for interceptor in entered:
        try:
            if interceptor.on_exception(tool_name, error, context):
                suppressed = True
        except BaseException as failure:  # noqa: BLE001  foreign code
            if not isinstance(failure, Exception) or _is_interruption(interceptor, failure):
                struck = failure  # passed on when all have heard
            else:
                _report(interceptor, "on_exception", failure)
                if interceptor.takes_time:
                    _end_all_the_same(context, error)
    if struck is not None:
        raise struck
    return suppressed and isinstance(error, Exception)


def _end_all_the_same(context: Context, error: BaseException | None) -> None:
    """End the call of *context*, if it still is open: who records it has failed."""
    passage = context.get(PASSAGE)
    if isinstance(passage, Passage):
        passage.end(error)


def _is_interruption(interceptor: ToolInterceptor, error: Exception) -> bool:
    """
    Whether *error* is not the interceptor's own but struck while its hook ran.

    Programs limit a tool's time by a signal handler that raises, which is found among the frames,
    or by raising in its thread. That can't be told from what anybody's hook raises, but ours call
    nothing of the program's, and raise no exception of anybody else's making.
    """
    if type(interceptor).__module__.startswith(_OURS):
        return is_programs(error)
    return is_handlers(error)


def _taken_over(context: Context, given: Any) -> Context:
    """The context that an interceptor returned, with the call in it."""
    if not isinstance(given, dict):
        raise TypeError(f"found {type(given).__name__}, expected the context")
    if PASSAGE in context:
        given.setdefault(PASSAGE, context[PASSAGE])
    return given


async def _within(coroutine: Coroutine[Any, Any, Any], call: int | Pair) -> Any:
    current_call.set(call)
    return await coroutine


def _carried(
    coroutine: Coroutine[Any, Any, Any], passage: Passage | None
) -> Coroutine[Any, Any, Any]:
    """*coroutine* under the call that began in this context, which is no longer current here."""
    opened = None if passage is None else passage.call()
    if opened is None or not opened.call_id:
        return coroutine
    opened.forget_cpu()
    opened.leave()
    return _within(coroutine, opened.id_inside)


_told = Once()


def _report(interceptor: ToolInterceptor, hook: str, error: Exception) -> None:
    """Say once for each kind of failure that an interceptor failed."""
    kind = type(interceptor).__qualname__
    key = kind, hook, type(error).__qualname__
    if len(_told) < _MOST_TOLD and _told.claim(key):
        tell(f"interceptor {kind}: {hook} failed: {key[2]}: {error_text(error)}")


def _is_async(function: Callable[..., Any]) -> bool:
    """Whether a callable that has no code of its own is asynchronous: partials and objects."""
    called = getattr(function, "__call__", None)  # noqa: B004  not whether it is callable
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
