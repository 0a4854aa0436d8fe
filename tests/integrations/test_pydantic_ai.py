"""Pydantic AI: the tools of an agent with a scripted model."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("pydantic-ai-slim", 2)

AGENT = """
    import asyncio, shmperf
    from pydantic_ai import Agent, ModelRetry
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel
    from pydantic_ai.models.test import TestModel

    def made(model, **options):
        agent = Agent(model, name="clerk", **options)

        @shmperf.track
        def locate(city):
            return city.lower()

        @agent.tool_plain
        @shmperf.track
        def forecast(city: str) -> str:
            return "rain in " + locate(city)

        tries = []

        @agent.tool_plain(retries=2)
        async def unsure(city: str) -> str:
            tries.append(city)
            if len(tries) == 1:
                raise ModelRetry("which one?")
            return city

        return agent

    def broken_agent():
        agent = Agent(script([("broken", "x"), ("waits", "y")]))

        @agent.tool_plain
        async def waits(city: str) -> str:
            await asyncio.Event().wait()

        @agent.tool_plain
        async def broken(city: str) -> str:
            await asyncio.sleep(0)
            raise ValueError("no such city")

        return agent

    def script(names):
        def answer(messages, info):
            if len(messages) > 1:
                return ModelResponse(parts=[TextPart("done")])
            return ModelResponse(parts=[
                ToolCallPart(name, {"city": city}, tool_call_id=f"call-{at}")
                for at, (name, city) in enumerate(names)
            ])
        return FunctionModel(answer)
"""


def test_a_test_models_tools_have_names_parents_and_outcomes(place: Place) -> None:
    """TestModel calls every tool; a retry is a failed call of its own, and told as one."""
    run(
        place,
        AGENT,
        """
        shmperf.instrument("pydantic-ai")
        with shmperf.call("agent"):
            made(TestModel()).run_sync("go")
        """,
        optimize=True,
    )
    assert counts(place) == {
        "agent": (1, 0),
        "forecast": (1, 0),
        "locate": (1, 0),
        "unsure": (2, 1),
    }
    assert edges(place) == {
        (None, "agent", 1),
        ("agent", "forecast", 1),
        ("forecast", "locate", 1),
        ("agent", "unsure", 2),
    }
    first, second = sorted(calls(place, "unsure"), key=lambda one: one["start"])
    assert (first["err"], first["metadata"]["outcome"]) == ("ModelRetry", "retry")
    assert "status" not in second
    metadata = only(place, "forecast")["metadata"]
    assert (metadata["source"], metadata["agent"]) == ("pydantic-ai", "clerk")
    assert metadata["call_id"]


def test_siblings_of_a_failing_tool_are_cancelled(place: Place) -> None:
    """The tool that failed is an error; the one beside it was cancelled, which is none."""
    run(
        place,
        AGENT,
        """
        shmperf.instrument("pydantic-ai")
        try:
            broken_agent().run_sync("go")
        except ValueError as error:
            print(error)
        """,
    )
    assert counts(place) == {"broken": (1, 1), "waits": (1, 0)}
    assert only(place, "broken")["err"] == "ValueError"
    assert only(place, "waits")["status"] == "cancelled"
    assert only(place, "waits")["p"] == {"city": "y"}


def test_the_capability_by_hand_counts_once_beside_the_switch(place: Place) -> None:
    """An agent with the exported capability is tracked, with the switch too and once."""
    run(
        place,
        AGENT,
        """
        from shmperf.integrations.pydantic_ai import capability
        agent = made(script([("forecast", "A"), ("forecast", "B")]), capabilities=[capability()])
        agent.run_sync("go")
        shmperf.instrument("pydantic-ai")
        agent.run_sync("go")
        """,
    )
    assert counts(place) == {"forecast": (4, 0), "locate": (4, 0)}
    assert edges(place) == {(None, "forecast", 4), ("forecast", "locate", 4)}


def test_uninstrument_restores_the_class(place: Place) -> None:
    """The class is as it was before."""
    run(
        place,
        AGENT,
        """
        from pydantic_ai.capabilities import CombinedCapability
        before = vars(CombinedCapability)["wrap_tool_execute"]
        agent = made(script([("unsure", "A")]))
        shmperf.instrument("pydantic-ai")
        assert vars(CombinedCapability)["wrap_tool_execute"] is not before
        shmperf.uninstrument("pydantic-ai")
        assert vars(CombinedCapability)["wrap_tool_execute"] is before
        agent.run_sync("go")
        with shmperf.call("something"):
            pass
        """,
    )
    assert counts(place) == {"something": (1, 0)}
