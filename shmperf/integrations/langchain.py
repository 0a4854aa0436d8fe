"""
LangChain and LangGraph: a callback handler that sees every tool run.

`attach` installs it for all runs of the process; `callback_handler` makes one to be handed to a
single run, ``agent.invoke(…, config={"callbacks": [callback_handler()]})``.

LangChain tells no handler that a tool was cancelled. Such a call ends, as cancelled, with the task
that it ran in, which LangGraph makes for every node.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from shmperf.integrations.observer import Observer, Sight

from .patching import imported

__all__ = ["attach", "callback_handler"]

_observer = Observer("langchain")
# Running tools by run id, with what withdraws the notice of their task's end.
_running: dict[Any, tuple[Sight, Callable[[], Any]]] = {}


def attach() -> Callable[[], None]:
    """Install a handler for every run of this process."""
    context = imported(
        "langchain_core.tracers.context",
        "register_configure_hook",
        "_configure_hooks",
        package="langchain-core",
        having=">=0.2",
    )
    handler = callback_handler()
    variable: ContextVar[Any] = ContextVar("shmperf_langchain", default=handler)
    context.register_configure_hook(variable, inheritable=True)

    def detach() -> None:
        hooks = context._configure_hooks  # there is no public way back
        hooks[:] = [hook for hook in hooks if hook[0] is not variable]

    return detach


def callback_handler() -> Any:
    """A LangChain callback handler that records the tools of the runs that it is given to."""
    callbacks = imported(
        "langchain_core.callbacks",
        "BaseCallbackHandler.on_tool_start",
        "BaseCallbackHandler.run_inline",
        package="langchain-core",
        having=">=0.2",
    )

    class ShmperfCallbackHandler(callbacks.BaseCallbackHandler):  # type: ignore[misc, name-defined]  # a class of the framework, untyped here
        # In the tool's own thread and context: otherwise async tools have no parent.
        run_inline = True

        def on_tool_start(self, serialized: Any, input_str: str, **known: Any) -> None:
            _observer.guard(_begin, serialized, input_str, known)

        def on_tool_end(self, output: Any, *, run_id: Any, **_: Any) -> None:
            _observer.guard(_end, run_id, output, None)

        def on_tool_error(self, error: BaseException, *, run_id: Any, **_: Any) -> None:
            _observer.guard(_end, run_id, None, error)

    return ShmperfCallbackHandler()


def _begin(serialized: Any, input_str: str, known: dict[str, Any]) -> None:
    run_id = known["run_id"]
    if run_id in _running:
        return  # two handlers of ours
    inputs = known.get("inputs")
    name = known.get("name") or (serialized or {}).get("name") or "tool"
    sight = _observer.begin(
        name,
        inputs if isinstance(inputs, dict) else {"input": input_str},
    )
    sight.annotate(call_id=known.get("tool_call_id"), node=_node(known.get("metadata")))
    _running[run_id] = sight, _at_task_end(run_id)


def _node(metadata: Any) -> Any:
    """The node of the graph that called."""
    return metadata.get("langgraph_node") if isinstance(metadata, dict) else None


def _at_task_end(run_id: Any) -> Callable[[], Any]:
    """End the run with the task it runs in, if nothing else does; what withdraws that."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        return _nothing

    def end(_: Any) -> None:
        _end(run_id, None, asyncio.CancelledError())

    task.add_done_callback(end)
    return lambda: task.remove_done_callback(end)


def _nothing() -> None:
    """There is no notice to withdraw."""


def _end(run_id: Any, output: Any, error: BaseException | None) -> None:
    sight, withdraw = _running.pop(run_id, (None, _nothing))
    withdraw()
    if sight is None:
        return
    if error is None and getattr(output, "status", None) == "error":
        # The tool handles its errors itself: they become its answer.
        sight.end(f"ToolException: {output.content}")
        return
    sight.end(error)
