"""OpenTelemetry: the spans of tools as calls, whoever makes them."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("opentelemetry-sdk")


def test_tool_spans_are_calls(place: Place) -> None:
    """Spans of tools are calls with parents, arguments and errors; other spans are none."""
    run(
        place,
        "frameworks/opentelemetry",
        "tool_spans_calls",
        optimize=True,
    )
    # `forecast` is decorated as well, and counted once.
    assert counts(place) == {
        "agent": (1, 0),
        "forecast": (1, 0),
        "locate": (1, 0),
        "broken": (1, 1),
        "late": (1, 1),
    }
    assert edges(place) == {
        (None, "agent", 1),
        ("agent", "forecast", 1),
        ("forecast", "locate", 1),
        ("agent", "broken", 1),
        ("agent", "late", 1),
    }
    found = only(place, "forecast")
    assert found["params"] == {"city": "A"}
    assert found["metadata"] == {
        "source": "opentelemetry",
        "scope": "somebody.elses",
        "call_id": "call-1",
    }
    failed = only(place, "broken")
    assert (failed["err"], failed["error"]) == ("ValueError", "ValueError: no such city")
    assert only(place, "late")["status"] == "timeout"


def test_a_span_inside_a_decorated_function_is_the_same_call(place: Place) -> None:
    """The function that makes the span itself is counted once, and again when it calls again."""
    run(
        place,
        "frameworks/opentelemetry",
        "span_inside_decorated_function_same_call",
    )
    assert counts(place) == {"search": (4, 0), "locate": (1, 0), "fan_out": (1, 0)}
    assert edges(place) == {
        (None, "search", 1),
        ("search", "locate", 1),
        (None, "fan_out", 1),
        ("fan_out", "search", 3),
    }


def test_a_span_that_says_late_what_it_is(place: Place) -> None:
    """A span that becomes a tool's after its start is recorded with its own duration."""
    run(
        place,
        "frameworks/opentelemetry",
        "span_says_late_what",
    )
    assert counts(place) == {"search": (1, 0)}
    assert only(place, "search")["d"] >= 0.02


def test_a_span_ended_elsewhere(place: Place) -> None:
    """A span that is ended in another task leaves no wrong parent behind."""
    run(
        place,
        "frameworks/opentelemetry",
        "span_ended_elsewhere",
    )
    assert edges(place) == {(None, "search", 1), ("search", "locate", 1), (None, "locate", 1)}


def test_frameworks_that_make_spans_are_counted_once(place: Place) -> None:
    """Pydantic AI's own spans and its hook see one call."""
    needs("pydantic-ai-slim", 2)
    run(
        place,
        "frameworks/opentelemetry",
        "frameworks_make_spans_counted_once",
    )
    assert counts(place) == {"forecast": (2, 0), "locate": (2, 0)}
    assert {tuple(one["p"]) for one in calls(place, "forecast")} == {("city",)}


def test_uninstrument_restores_class_and_providers(place: Place) -> None:
    """Providers have the processors that they had before."""
    run(
        place,
        "frameworks/opentelemetry",
        "uninstrument_restores_class_providers",
    )
    assert edges(place) == {(None, "locate", 1), (None, "seen", 1), ("seen", "locate", 1)}
