"""
OpenAI Agents: a trace processor that sees the span of every function tool.

`attach` adds it for the process; `trace_processor` makes one for ``add_trace_processor``. The SDK
makes no spans while its tracing is disabled (``OPENAI_AGENTS_DISABLE_TRACING``,
``set_tracing_disabled``), so no calls are seen then; without an API key nothing is exported, and
calls are seen. The SDK's spans carry the span's id, not the model's id of the call.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import msgspec

from shmperf.integrations.observer import Observer, Sight

from .patching import imported

__all__ = ["attach", "trace_processor"]

_observer = Observer("openai-agents")
# Running tools by span id, with the exception that was being handled when they began.
_running: dict[str, tuple[Sight, BaseException | None]] = {}


def attach() -> Callable[[], None]:
    """Add a processor to the provider of the process, beside those that are there."""
    tracing = _imported("agents.tracing", "add_trace_processor", "get_trace_provider")
    added = trace_processor()
    tracing.add_trace_processor(added)

    def detach() -> None:
        processors = tracing.get_trace_provider()._multi_processor
        kept = [one for one in processors._processors if one is not added]
        processors.set_processors(kept)

    return detach


def trace_processor() -> Any:
    """A trace processor that records function tools."""
    found = _imported("agents.tracing", "TracingProcessor.on_span_end", "FunctionSpanData")
    function_span: type = found.FunctionSpanData

    class ShmperfTraceProcessor(found.TracingProcessor):  # type: ignore[misc, name-defined]  # a class of the framework, untyped here
        def on_trace_start(self, trace: Any) -> None:
            pass

        def on_trace_end(self, trace: Any) -> None:
            pass

        def on_span_start(self, span: Any) -> None:
            if isinstance(span.span_data, function_span):
                _observer.guard(_begin, span)

        def on_span_end(self, span: Any) -> None:
            if isinstance(span.span_data, function_span):
                _observer.guard(_end, span)

        def shutdown(self) -> None:
            pass

        def force_flush(self) -> None:
            pass

    return ShmperfTraceProcessor()


def _begin(span: Any) -> None:
    if span.span_id in _running:
        return  # two processors of ours
    sight = _observer.begin(span.span_data.name, {})
    sight.annotate(span_id=span.span_id, trace_id=span.trace_id)
    _running[span.span_id] = sight, sys.exc_info()[1]


def _end(span: Any) -> None:
    sight, handled = _running.pop(span.span_id, (None, None))
    if sight is None:
        return
    _observer.guard(_describe, sight, span.span_data)
    # A span ends in the exit of its ``with``, where what the tool has raised is being handled.
    raised = sys.exc_info()[1]
    if raised is None or raised is handled:
        sight.end(_error_of(span))
    else:
        # UserError stands around what the tool has raised.
        wraps = type(raised).__name__ == "UserError" and raised.__cause__ is not None
        sight.end(raised.__cause__ if wraps else raised)


def _describe(sight: Sight, function: Any) -> None:
    if function.input:
        params = msgspec.json.decode(function.input)
        sight.describe(params if isinstance(params, dict) else {"input": params})
    server = (function.mcp_data or {}).get("server")
    sight.annotate(server=server)


def _error_of(span: Any) -> str | None:
    if not span.error:
        return None
    return f"ToolError: {(span.error.get('data') or {}).get('error') or span.error.get('message')}"


def _imported(module: str, *names: str) -> Any:
    return imported(module, *names, package="openai-agents", having=">=0.1")
