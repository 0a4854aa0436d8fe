"""
Celery: each run of a task is a call, in the worker's process that runs it.

`attach` belongs in the module that makes the app, so that clients and workers have it: workers fork
after it. Who sends a task puts its current call's id into the message's headers, and the run has it
as its parent; a retry keeps the parent of the first try. For workers of another session, and for
whoever else reads it, ``traceparent`` is there too, unless somebody has put one there; a task whose
sender is none of ours is in the trace that it names. A task that a hard time limit kills is an
aborted call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shmperf.integrations.observer import (
    Observer,
    Sight,
    foreign_call,
    named_params,
    shared_call,
    taken_up,
)
from shmperf.worker.context import current
from shmperf.worker.outgoing import traceparent

from .patching import imported, undo_all

__all__ = ["attach"]

_HEADER = "shmperf_call"
_TRACEPARENT = "traceparent"
_observer = Observer("celery")
# Running tasks by id, with the headers that named their parent.
_running: dict[str, tuple[Sight, dict[str, Any]]] = {}


def attach() -> Callable[[], None]:
    """Connect to Celery's signals."""
    names = ("before_task_publish", "task_prerun", "task_postrun", "task_failure", "task_retry")
    signals = imported("celery.signals", *names, package="celery", having=">=4.0")
    receivers: tuple[Callable[..., None], ...] = (
        _on_publish,
        _on_prerun,
        _on_postrun,
        _on_failure,
        _on_retry,
    )
    return undo_all(
        *(
            _connect(getattr(signals, name), receiver)
            for name, receiver in zip(names, receivers, strict=True)
        )
    )


def _connect(signal: Any, receiver: Callable[..., None]) -> Callable[[], None]:
    signal.connect(receiver, weak=False)
    return lambda: signal.disconnect(receiver)


def _on_publish(*, headers: Any = None, **_: Any) -> None:
    _observer.guard(_send_parent, headers)


def _send_parent(headers: Any) -> None:
    if isinstance(headers, dict):
        _, before = _running.get(headers.get("id", ""), (None, {}))
        if headers.get("retries"):
            headers.update(before)
            return
        known = shared_call(current())
        if known:
            headers[_HEADER] = known
        found = traceparent()
        if found and _TRACEPARENT not in headers:
            headers[_TRACEPARENT] = found


def _on_prerun(*, task_id: str, task: Any, args: Any, kwargs: Any, **_: Any) -> None:
    _observer.guard(_begin, task_id, task, args, kwargs)


def _begin(task_id: str, task: Any, args: Any, kwargs: Any) -> None:
    given = {key: task.request.get(key) for key in (_HEADER, _TRACEPARENT)}
    named = {key: value for key, value in given.items() if value is not None}
    parent = foreign_call(given[_HEADER]) or taken_up(given[_TRACEPARENT])
    module, _, name = task.name.rpartition(".")
    params = named_params(task.run, tuple(args or ()), kwargs or {})
    sight = _observer.begin(name, params, parent=parent)
    sight.annotate(
        call_id=task_id, module=module or None, retries=getattr(task.request, "retries", 0) or None
    )
    _running[task_id] = sight, named


def _on_postrun(*, task_id: str, **_: Any) -> None:
    _end(task_id, None)
    _running.pop(task_id, None)


def _on_failure(*, task_id: str, exception: BaseException, **_: Any) -> None:
    _end(task_id, exception)


def _on_retry(*, request: Any, reason: Any, **_: Any) -> None:
    _end(request.id, reason if isinstance(reason, BaseException) else f"Retry: {reason}")


def _end(task_id: str, error: BaseException | str | None) -> None:
    sight, _ = _running.get(task_id, (None, {}))
    if sight is not None:
        _observer.guard(sight.end, error)
