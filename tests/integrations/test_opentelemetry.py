"""OpenTelemetry: the spans of tools as calls, whoever makes them."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("opentelemetry-sdk")

SPANS = """
    import asyncio, json, shmperf
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    trace.set_tracer_provider(provider)
    tracer = trace.get_tracer("somebody.elses")

    def tool(name, **more):
        given = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": name, **more}
        return tracer.start_as_current_span(f"execute_tool {name}", attributes=given)

    @shmperf.track
    def locate(city):
        return city.lower()

    @shmperf.track
    def forecast(city):
        return "rain in " + locate(city)
"""


def test_tool_spans_are_calls(place: Place) -> None:
    """Spans of tools are calls with parents, arguments and errors; other spans are none."""
    run(
        place,
        SPANS,
        """
        shmperf.instrument("opentelemetry")
        with shmperf.call("agent"), tracer.start_as_current_span("chat"):
            with tool("forecast", **{
                "gen_ai.tool.call.id": "call-1",
                "gen_ai.tool.call.arguments": json.dumps({"city": "A"}),
            }):
                forecast("A")
            try:
                with tool("broken"):
                    raise ValueError("no such city")
            except ValueError:
                pass
            with tool("late", **{"error.type": "asyncio.TimeoutError"}):
                pass
        """,
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
        SPANS,
        """
        shmperf.instrument("opentelemetry")

        @shmperf.track
        def search(query):
            with tool("search"):
                locate(query)

        search("a")

        @shmperf.track
        def fan_out():
            for at in range(3):
                with tool("search"):
                    pass

        fan_out()
        """,
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
        SPANS,
        """
        import time
        shmperf.instrument("opentelemetry")
        with tracer.start_as_current_span("something") as span:
            until = time.monotonic() + 0.02
            while time.monotonic() < until:
                pass
            span.set_attribute("gen_ai.operation.name", "execute_tool")
            span.set_attribute("gen_ai.tool.name", "search")
        """,
    )
    assert counts(place) == {"search": (1, 0)}
    assert only(place, "search")["d"] >= 0.02


def test_a_span_ended_elsewhere(place: Place) -> None:
    """A span that is ended in another task leaves no wrong parent behind."""
    run(
        place,
        SPANS,
        """
        shmperf.instrument("opentelemetry")

        async def end(span):
            span.end()

        async def main():
            given = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search"}
            span = tracer.start_span("execute_tool search", attributes=given)
            locate("inside")
            await asyncio.create_task(end(span))
            locate("after")

        asyncio.run(main())
        """,
    )
    assert edges(place) == {(None, "search", 1), ("search", "locate", 1), (None, "locate", 1)}


def test_frameworks_that_make_spans_are_counted_once(place: Place) -> None:
    """Pydantic AI's own spans and its hook see one call."""
    needs("pydantic-ai-slim", 2)
    run(
        place,
        SPANS,
        """
        from pydantic_ai import Agent
        from pydantic_ai.models.test import TestModel

        Agent.instrument_all()
        agent = Agent(TestModel())
        agent.tool_plain(forecast)
        shmperf.instrument("opentelemetry")
        agent.run_sync("go")
        shmperf.instrument("pydantic-ai")
        agent.run_sync("go")
        """,
    )
    assert counts(place) == {"forecast": (2, 0), "locate": (2, 0)}
    assert {tuple(one["p"]) for one in calls(place, "forecast")} == {("city",)}


def test_uninstrument_restores_class_and_providers(place: Place) -> None:
    """Providers have the processors that they had before."""
    run(
        place,
        SPANS,
        """
        from shmperf.integrations.opentelemetry import span_processor
        before = vars(TracerProvider)["__init__"]
        shmperf.instrument("opentelemetry")
        new = TracerProvider()
        for one in (provider, new):
            assert len(one._active_span_processor._span_processors) == 1
        shmperf.uninstrument("opentelemetry")
        assert vars(TracerProvider)["__init__"] is before
        for one in (provider, new):
            assert one._active_span_processor._span_processors == ()
        with tool("unseen"):
            locate("A")
        provider.add_span_processor(span_processor())
        with tool("seen"):
            locate("B")
        """,
    )
    assert edges(place) == {(None, "locate", 1), (None, "seen", 1), ("seen", "locate", 1)}
