"""
Dask: each task that a worker executes is a call, in the worker's process.

`attach` in the client's program registers a worker plugin with every cluster that it connects to,
and sends the current call along as an annotation, so that tasks have who submitted them as their
parent: its span, where the worker is on another machine. `worker_plugin` makes the plugin for
``client.register_plugin(…)``. Workers need shmperf installed. Tasks of a worker with a process pool
are seen; what they call is not beneath them. An asynchronous client's plugin stays until the client
unregisters it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from shmperf.integrations.observer import Observer, Sight, foreign_call, named_params, shared_call
from shmperf.worker.context import current
from shmperf.worker.outgoing import traceparent

from .patching import imported, live, replace, send_tracked, undo_all

__all__ = ["attach", "track_worker", "worker_plugin"]

_VERSIONS = ">=2024.12"
_PLUGIN = _ANNOTATION = "shmperf"
_observer = Observer("dask")


def attach() -> Callable[[], None]:
    """Register the plugin with every client's cluster, also of those that are connected."""
    distributed = _dask(
        "distributed", "Client._start", "Client._graph_to_futures", "Client.register_plugin"
    )
    client = distributed.Client
    pickler = _dask("cloudpickle", "Pickler.reducer_override").Pickler
    undo = undo_all(
        send_tracked(pickler),
        _take_out(client),
        replace(client, "_start", _registering(client._start)),
        replace(client, "_graph_to_futures", _annotating(client._graph_to_futures)),
    )
    for found in _connected(client):
        found.register_plugin(worker_plugin(), name=_PLUGIN)
    return undo


def worker_plugin() -> Any:
    """A worker plugin that records the tasks of the worker it is set up in."""
    distributed = _dask("distributed", "WorkerPlugin.setup", "Worker.execute")

    class ShmperfWorkerPlugin(distributed.WorkerPlugin):  # type: ignore[misc, name-defined]  # a class of the framework, untyped here
        # It travels to the workers: what it does is there, in this module.
        def setup(self, worker: Any) -> None:
            self._undo = track_worker(worker)

        def teardown(self, worker: Any) -> None:  # noqa: ARG002  the framework's own names
            self._undo()

    return ShmperfWorkerPlugin()


def track_worker(worker: Any) -> Callable[[], None]:
    """Record the tasks of a worker in this process; the function that stops that."""
    original = worker.execute

    @functools.wraps(original)
    async def execute(key: Any, *, stimulus_id: str) -> Any:
        sight = _observer.guard(_begin, worker, key)
        return await _observer.watch(sight, _reason, original, key, stimulus_id=stimulus_id)

    return replace(worker, "execute", execute)


def _begin(worker: Any, key: Any) -> Sight | None:
    state = worker.state.tasks[key]
    function = getattr(state.run_spec, "func", None)
    if function is None:
        return None  # data, or another name for a task
    parent = foreign_call((state.annotations or {}).get(_ANNOTATION))
    params = named_params(function, tuple(state.run_spec.args), state.run_spec.kwargs)
    sight = _observer.begin(_dask("dask.utils", "key_split").key_split(key), params, parent=parent)
    sight.annotate(call_id=str(key), worker=worker.address)
    return sight


def _reason(outcome: Any) -> BaseException | str | None:
    if isinstance(outcome, BaseException):
        return outcome
    kind = type(outcome).__name__
    if kind == "ExecuteFailureEvent":
        # The exception itself is serialised by now; its text opens with its class.
        name, _, rest = outcome.exception_text.partition("(")
        return f"{name}: {rest.removesuffix(')')}"
    return "Reschedule: to be run again" if kind == "RescheduleEvent" else None


def _registering(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    async def start(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        if self.status == "running":
            try:
                await self.register_plugin(worker_plugin(), name=_PLUGIN)
            except Exception as error:  # noqa: BLE001  workers without shmperf, or half gone
                _observer.guard(_fail, error)
        return result

    return start


def _fail(error: Exception) -> None:
    raise error


def _annotating(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def graph_to_futures(self: Any, *args: Any, **kwargs: Any) -> Any:
        known = shared_call(current(), traceparent())
        if known is None:
            return original(self, *args, **kwargs)
        with _dask("dask", "annotate").annotate(**{_ANNOTATION: known}):
            return original(self, *args, **kwargs)

    return graph_to_futures


def _take_out(client: type[Any]) -> Callable[[], None]:
    def take_out() -> None:
        for found in _connected(client):
            found.unregister_worker_plugin(_PLUGIN)

    return take_out


def _connected(client: type[Any]) -> list[Any]:
    return [found for found in live(client) if found.status == "running" and not found.asynchronous]


def _dask(module: str, *names: str) -> Any:
    return imported(module, *names, package="distributed", having=_VERSIONS)
