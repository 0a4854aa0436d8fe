import asyncio
import sys

from pydantic_ai import Agent, ModelRetry
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.test import TestModel

import shmperf


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
        return ModelResponse(
            parts=[
                ToolCallPart(name, {"city": city}, tool_call_id=f"call-{at}")
                for at, (name, city) in enumerate(names)
            ]
        )

    return FunctionModel(answer)


def test_models_tools_have_names_parents() -> None:
    shmperf.instrument("pydantic-ai")
    with shmperf.call("agent"):
        made(TestModel()).run_sync("go")


def siblings_failing_tool_cancelled() -> None:
    shmperf.instrument("pydantic-ai")
    try:
        broken_agent().run_sync("go")
    except ValueError as error:
        print(error)


def capability_by_hand_counts_once_beside() -> None:
    from shmperf.integrations.pydantic_ai import capability

    agent = made(script([("forecast", "A"), ("forecast", "B")]), capabilities=[capability()])
    agent.run_sync("go")
    shmperf.instrument("pydantic-ai")
    agent.run_sync("go")


def uninstrument_restores_class() -> None:
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


if __name__ == "__main__":
    globals()[sys.argv[1]]()
