"""
OpenTelemetry: a span processor that records the spans of tools, whoever instruments them.

A span is a tool's when its ``gen_ai.operation.name`` is ``execute_tool`` (GenAI semantic
conventions). One that says so only after it has started is recorded when it ends, with no calls
beneath it. `attach` gives the processor to every provider of the process, also to those that
exist; `span_processor` makes one for ``provider.add_span_processor(…)``. Spans that are sampled out
reach no processor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from shmperf.integrations.observer import Observer, Sight

from .patching import equip, imported

__all__ = ["attach", "span_processor"]

_VERSIONS = ">=1.25"

# The conventions' names, "development" status: all of them are here.
_OPERATION = "gen_ai.operation.name"
_EXECUTE_TOOL = "execute_tool"
_TOOL_NAME = "gen_ai.tool.name"
_CALL_ID = "gen_ai.tool.call.id"
_ARGUMENTS = "gen_ai.tool.call.arguments"
_ERROR_TYPE = "error.type"
_EXCEPTION = "exception"

# Instrumentations, and a client's and a server's spans, are observers of their own.
_observers: dict[tuple[str, str], Observer] = {}
_running: dict[int, Sight] = {}


def attach() -> Callable[[], None]:
    """Add a processor to every tracer provider."""
    sdk = imported(
        "opentelemetry.sdk.trace",
        "TracerProvider.add_span_processor",
        "SynchronousMultiSpanProcessor",
        package="opentelemetry-sdk",
        having=_VERSIONS,
    )
    added = span_processor()
    kind = sdk.TracerProvider

    def give(provider: Any) -> None:
        provider.add_span_processor(added)

    def take(provider: Any) -> None:
        multi = provider._active_span_processor
        with multi._lock:
            kept = tuple(one for one in multi._span_processors if one is not added)
            multi._span_processors = kept

    current = imported("opentelemetry.trace", package="opentelemetry-api", having=_VERSIONS)
    known = current.get_tracer_provider()
    return equip(kind, give, take, *([known] if isinstance(known, kind) else []))


def span_processor() -> Any:
    """A span processor that records tool calls."""
    sdk = imported(
        "opentelemetry.sdk.trace",
        "SpanProcessor.on_end",
        package="opentelemetry-sdk",
        having=_VERSIONS,
    )

    class ShmperfSpanProcessor(sdk.SpanProcessor):  # type: ignore[misc, name-defined]  # a class of the framework, untyped here
        def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002  the framework's signature
            attributes = span.attributes
            if attributes and attributes.get(_OPERATION) == _EXECUTE_TOOL:
                _observer_of(span).guard(_begin, span, attributes)

        def on_end(self, span: Any) -> None:
            attributes = span.attributes
            if attributes and attributes.get(_OPERATION) == _EXECUTE_TOOL:
                _observer_of(span).guard(_end, span, attributes)

    return ShmperfSpanProcessor()


def _observer_of(span: Any) -> Observer:
    scope = getattr(span.instrumentation_scope, "name", "")
    kind = getattr(span.kind, "name", "")
    found = _observers.get((scope, kind))
    if found is None:
        name = f"opentelemetry {scope} {kind.lower()}"
        found = _observers[scope, kind] = Observer(name, "opentelemetry")
    return found


def _begin(span: Any, attributes: Mapping[str, Any]) -> None:
    span_id = span.context.span_id
    if span_id in _running:
        return  # two processors of ours
    outer = _running.get(span.parent.span_id) if span.parent is not None else None
    _running[span_id] = _observer_of(span).begin(
        _name_of(span, attributes), {}, beneath=outer, key=span_id
    )


def _name_of(span: Any, attributes: Mapping[str, Any]) -> str:
    return str(attributes.get(_TOOL_NAME) or span.name.removeprefix(f"{_EXECUTE_TOOL} "))


def _end(span: Any, attributes: Mapping[str, Any]) -> None:
    span_id = span.context.span_id
    sight = _running.pop(span_id, None)
    if sight is None:
        sight = _observer_of(span).begin(_name_of(span, attributes), {}, key=span_id)
        sight.backdate(time.time_ns() - span.start_time)
    _observer_of(span).guard(_describe, sight, attributes)
    sight.annotate(
        call_id=attributes.get(_CALL_ID), scope=getattr(span.instrumentation_scope, "name", None)
    )
    sight.end(_error_of(span, attributes))


def _describe(sight: Sight, attributes: Mapping[str, Any]) -> None:
    given = attributes.get(_ARGUMENTS)
    if given:
        params = msgspec.json.decode(given) if isinstance(given, str) else given
        sight.describe(params if isinstance(params, Mapping) else {"input": params})


def _error_of(span: Any, attributes: Mapping[str, Any]) -> str | None:
    """Class and text of the span's error: from its attributes, its exception or its status."""
    exceptions = [event.attributes or {} for event in span.events if event.name == _EXCEPTION]
    raised = exceptions[-1] if exceptions else {}
    is_failed = span.status is not None and span.status.status_code.name == "ERROR"
    if not is_failed and _ERROR_TYPE not in attributes:
        return None
    kind = attributes.get(_ERROR_TYPE) or raised.get("exception.type") or "Error"
    text = raised.get("exception.message") or span.status.description or ""
    return f"{str(kind).rpartition('.')[2]}: {text}"
