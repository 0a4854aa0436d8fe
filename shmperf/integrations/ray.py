"""
Ray: each task and each method of an actor is a call, in the worker's process that runs it.

`attach` in the driver's program makes ``ray.init`` set `setup_worker` up in every worker, unless
the program gives a setup hook of its own, which then calls it. Ray carries no metadata with a task,
so a task's call has no parent; what it calls is beneath it. Workers need shmperf installed. What
they find of the environment is that of the process that has started Ray.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator
from typing import Any

from shmperf.integrations.observer import Observer, Sight, named_params

from .patching import imported, replace, send_tracked, undo_all

__all__ = ["attach", "setup_worker"]

_HOOK = "worker_process_setup_hook"
_SETUP = f"{__name__}.setup_worker"
_observer = Observer("ray")
# What stands around functions and methods, by what it stands around.
_tracked: dict[int, tuple[Any, Any]] = {}


def attach() -> Callable[[], None]:
    """Have workers set up that are started from now on."""
    ray = imported("ray", "init", package="ray", having=">=2.9")
    original = ray.init

    @functools.wraps(original)
    def init(*args: Any, **kwargs: Any) -> Any:
        environment = kwargs.get("runtime_env") or {}
        if _HOOK not in environment:
            kwargs["runtime_env"] = {**environment, _HOOK: _SETUP}
        return original(*args, **kwargs)

    pickler = imported(
        "ray.cloudpickle.cloudpickle", "Pickler.reducer_override", package="ray", having=">=2.9"
    ).Pickler
    return undo_all(send_tracked(pickler), replace(ray, "init", init))


def setup_worker() -> None:
    """In a worker: record what it runs. The ``worker_process_setup_hook`` of a runtime_env."""
    manager = imported(
        "ray._private.function_manager",
        "FunctionActorManager.get_execution_info",
        package="ray",
        having=">=2.9",
    ).FunctionActorManager
    original = manager.get_execution_info

    @functools.wraps(original)
    def get_execution_info(self: Any, job_id: Any, function_descriptor: Any) -> Any:
        described = original(self, job_id, function_descriptor)
        return _observer.guard(_tracking, described) or described

    replace(manager, "get_execution_info", get_execution_info)
    # Workers send functions too.
    attach()


def _tracking(described: Any) -> Any:
    _, found = _tracked.get(id(described.function), (None, None))
    if found is None:
        found = _wrapped(described.function)
        _tracked[id(described.function)] = described.function, found
        _tracked[id(found)] = found, found
    return described._replace(function=found)


def _wrapped(function: Any) -> Any:
    method = getattr(function, "method", None)
    target = function if method is None else method
    name = getattr(function, "name", None) or target.__name__
    if name.startswith("__"):
        return function  # an actor's creation, and Ray's own methods
    if inspect.isgeneratorfunction(target):
        return _around_generator(function, target, name)
    if inspect.isasyncgenfunction(target):
        return function
    if inspect.iscoroutinefunction(target):
        return _around_coroutine(function, target, name)

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        sight = _observer.guard(_begin, target, method, name, args, kwargs)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            # Noted and passed on.
            _end(sight, error)
            raise
        _end(sight, None)
        return result

    return run


def _around_coroutine(function: Any, target: Any, name: str) -> Any:
    # Ray calls it in one thread and awaits it in another: the call begins where it is awaited.
    @functools.wraps(function)
    async def run(*args: Any, **kwargs: Any) -> Any:
        method = getattr(function, "method", None)
        sight = _observer.guard(_begin, target, method, name, args, kwargs)
        return await _observer.watch(sight, _reason, function, *args, **kwargs)

    return run


def _around_generator(function: Any, target: Any, name: str) -> Any:
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        method = getattr(function, "method", None)
        sight = _observer.guard(_begin, target, method, name, args, kwargs)
        try:
            result = yield from function(*args, **kwargs)
        except BaseException as error:
            # Noted and passed on.
            _end(sight, None if isinstance(error, GeneratorExit) else error)
            raise
        _end(sight, None)
        return result

    return run


def _begin(target: Any, method: Any, name: str, args: tuple[Any, ...], kwargs: Any) -> Sight:
    # An actor's executor is called with the actor, which the method's own names leave out.
    given = args if method is None else args[1:]
    sight = _observer.begin(name, named_params(target, given, kwargs))
    sight.annotate(call_id=_task_id())
    return sight


def _task_id() -> str | None:
    ray = imported("ray", "get_runtime_context", package="ray", having=">=2.9")
    found = ray.get_runtime_context().get_task_id()
    return found if isinstance(found, str) else None


def _reason(outcome: Any) -> BaseException | None:
    return outcome if isinstance(outcome, BaseException) else None


def _end(sight: Sight | None, error: BaseException | None) -> None:
    if sight is not None:
        _observer.guard(sight.end, error)
