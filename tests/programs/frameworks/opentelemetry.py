import asyncio
import json
import sys

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

import shmperf

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


def tool_spans_calls() -> None:
    shmperf.instrument("opentelemetry")
    with shmperf.call("agent"), tracer.start_as_current_span("chat"):
        with tool(
            "forecast",
            **{
                "gen_ai.tool.call.id": "call-1",
                "gen_ai.tool.call.arguments": json.dumps({"city": "A"}),
            },
        ):
            forecast("A")
        try:
            with tool("broken"):
                raise ValueError("no such city")  # noqa: TRY301  it is the tool that fails
        except ValueError:
            pass
        with tool("late", **{"error.type": "asyncio.TimeoutError"}):
            pass


def span_inside_decorated_function_same_call() -> None:
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


def span_says_late_what() -> None:
    import time

    shmperf.instrument("opentelemetry")
    with tracer.start_as_current_span("something") as span:
        until = time.monotonic() + 0.02
        while time.monotonic() < until:
            pass
        span.set_attribute("gen_ai.operation.name", "execute_tool")
        span.set_attribute("gen_ai.tool.name", "search")


def span_ended_elsewhere() -> None:
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


def frameworks_make_spans_counted_once() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.models.test import TestModel

    Agent.instrument_all()
    agent = Agent(TestModel())
    agent.tool_plain(forecast)
    shmperf.instrument("opentelemetry")
    agent.run_sync("go")
    shmperf.instrument("pydantic-ai")
    agent.run_sync("go")


def uninstrument_restores_class_providers() -> None:
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


if __name__ == "__main__":
    globals()[sys.argv[1]]()
