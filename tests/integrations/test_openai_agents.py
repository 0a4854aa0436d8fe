"""OpenAI Agents: the function tools of an agent with a scripted model."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("openai-agents")

AGENT = """
    import asyncio, json, logging, shmperf
    from agents import Agent, ModelResponse, Runner, Usage, function_tool
    from agents.models.interface import Model
    from openai.types.responses import (
        ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText,
    )

    # The SDK logs what its tools raise.
    logging.getLogger("openai.agents").setLevel(logging.CRITICAL + 1)

    class Scripted(Model):
        def __init__(self, names):
            self.names = names

        async def get_response(self, *args, **kwargs):
            names, self.names = self.names, None
            if names is None:
                text = ResponseOutputText(text="done", type="output_text", annotations=[])
                output = [ResponseOutputMessage(
                    id="m", content=[text], role="assistant", status="completed", type="message"
                )]
            else:
                output = [
                    ResponseFunctionToolCall(
                        name=name, arguments=json.dumps({"city": city}),
                        call_id=f"call-{at}", type="function_call",
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
        return Agent(
            name="clerk", model=Scripted(names), tools=[forecast, broken, fatal, waits]
        )
"""


def test_an_agents_tools_have_names_parents_and_outcomes(place: Place) -> None:
    """Function tools are children of who ran the agent; an error told to the model is one."""
    run(
        place,
        AGENT,
        """
        shmperf.instrument("openai-agents")
        with shmperf.call("agent"):
            Runner.run_sync(agent([("forecast", "A"), ("forecast", "B"), ("broken", "C")]), "go")
        """,
        optimize=True,
    )
    assert counts(place) == {
        "agent": (1, 0),
        "forecast": (2, 0),
        "locate": (2, 0),
        "broken": (1, 1),
    }
    assert edges(place) == {
        (None, "agent", 1),
        ("agent", "forecast", 2),
        ("forecast", "locate", 2),
        ("agent", "broken", 1),
    }
    assert sorted(one["params"]["city"] for one in calls(place, "forecast")) == ["A", "B"]
    failed = only(place, "broken")
    # The SDK's traces hold no more than this, unless sensitive data is let into them.
    assert failed["error"].startswith("ToolError: ")
    assert failed["metadata"]["source"] == "openai-agents"
    assert failed["metadata"]["span_id"].startswith("span_")


def test_an_error_ends_the_run_and_cancels_the_sibling(place: Place) -> None:
    """What a tool raises is its error; the tool beside it is no error."""
    run(
        place,
        AGENT,
        """
        shmperf.instrument("openai-agents")
        try:
            Runner.run_sync(agent([("fatal", "A"), ("waits", "B")]), "go")
        except Exception as error:
            print(type(error).__name__)
        """,
    )
    found = counts(place)
    assert found["fatal"] == (1, 1)
    assert only(place, "fatal")["p"] == {"city": "A"}
    assert only(place, "fatal")["err"] == "KeyError"
    assert found["waits"] == (1, 0)
    assert only(place, "waits")["status"] == "cancelled"


def test_the_processor_by_hand_counts_once_beside_the_switch(place: Place) -> None:
    """The exported processor works alone, and with the switch each call is one."""
    run(
        place,
        AGENT,
        """
        from agents.tracing import add_trace_processor
        from shmperf.integrations.openai_agents import trace_processor
        add_trace_processor(trace_processor())
        Runner.run_sync(agent([("forecast", "A")]), "go")
        shmperf.instrument("openai-agents")
        Runner.run_sync(agent([("forecast", "B")]), "go")
        """,
    )
    assert counts(place) == {"forecast": (2, 0), "locate": (2, 0)}


def test_uninstrument_leaves_other_processors_alone(place: Place) -> None:
    """The provider has the processors that it had before."""
    run(
        place,
        AGENT,
        """
        from agents.tracing import get_trace_provider
        processors = get_trace_provider()._multi_processor
        before = processors._processors
        shmperf.instrument("openai-agents")
        assert len(processors._processors) == len(before) + 1
        shmperf.uninstrument("openai-agents")
        assert processors._processors == before
        Runner.run_sync(agent([("broken", "A")]), "go")
        locate("B")
        """,
    )
    assert counts(place) == {"locate": (1, 0)}
