import asyncio
import json
import logging
import sys

from agents import Agent, ModelResponse, Runner, Usage, function_tool
from agents.models.interface import Model
from openai.types.responses import (
    ResponseFunctionToolCall,
    ResponseOutputMessage,
    ResponseOutputText,
)

import shmperf

# The SDK logs what its tools raise.
logging.getLogger("openai.agents").setLevel(logging.CRITICAL + 1)


class Scripted(Model):
    def __init__(self, names):
        self.names = names

    async def get_response(self, *args, **kwargs):
        names, self.names = self.names, None
        if names is None:
            text = ResponseOutputText(text="done", type="output_text", annotations=[])
            output = [
                ResponseOutputMessage(
                    id="m", content=[text], role="assistant", status="completed", type="message"
                )
            ]
        else:
            output = [
                ResponseFunctionToolCall(
                    name=name,
                    arguments=json.dumps({"city": city}),
                    call_id=f"call-{at}",
                    type="function_call",
                )
                for at, (name, city) in enumerate(names)
            ]
        return ModelResponse(output=output, usage=Usage(), response_id=None)

    def stream_response(self, *args, **kwargs):
        raise NotImplementedError


@shmperf.track
def locate(city):
    return city.lower()


@function_tool
@shmperf.track
def forecast(city: str) -> str:
    "The forecast."
    return "rain in " + locate(city)


@function_tool
def broken(city: str) -> str:
    "Fail, and tell the model."
    raise ValueError("no such city")


@function_tool(failure_error_function=None)
async def fatal(city: str) -> str:
    "Fail, and end the run."
    await asyncio.sleep(0)
    raise KeyError("no such city")


@function_tool(failure_error_function=None)
async def waits(city: str) -> str:
    "Never answer."
    await asyncio.Event().wait()


def agent(names):
    return Agent(name="clerk", model=Scripted(names), tools=[forecast, broken, fatal, waits])


def agents_tools_have_names_parents_outcomes() -> None:
    shmperf.instrument("openai-agents")
    with shmperf.call("agent"):
        Runner.run_sync(agent([("forecast", "A"), ("forecast", "B"), ("broken", "C")]), "go")


def error_ends_run_cancels_sibling() -> None:
    shmperf.instrument("openai-agents")
    try:
        Runner.run_sync(agent([("fatal", "A"), ("waits", "B")]), "go")
    except Exception as error:  # noqa: BLE001  whatever it raises is shown
        print(type(error).__name__)


def processor_by_hand_counts_once_beside() -> None:
    from agents.tracing import add_trace_processor

    from shmperf.integrations.openai_agents import trace_processor

    add_trace_processor(trace_processor())
    Runner.run_sync(agent([("forecast", "A")]), "go")
    shmperf.instrument("openai-agents")
    Runner.run_sync(agent([("forecast", "B")]), "go")


def uninstrument_leaves_other_processors_alone() -> None:
    from agents.tracing import get_trace_provider

    processors = get_trace_provider()._multi_processor
    before = processors._processors
    shmperf.instrument("openai-agents")
    assert len(processors._processors) == len(before) + 1
    shmperf.uninstrument("openai-agents")
    assert processors._processors == before
    Runner.run_sync(agent([("broken", "A")]), "go")
    locate("B")


if __name__ == "__main__":
    globals()[sys.argv[1]]()
