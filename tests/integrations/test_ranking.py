"""The plugs of ranking, each in its framework: tools in the order to choose them in."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from shmperf.analysis.perfstate import PerfState
from shmperf.analysis.totals import Totals
from shmperf.rag import ToolStore
from tests.support import needs

NOW_S = 1_800_000_000.0
TOOLS = ("broken_weather", "slow_weather", "fetch_weather")


def summary(failed: int, each_s: float) -> dict[str, object]:
    state, totals = PerfState(600.0), Totals()
    totals.add([round(each_s * 1e9)] * 50, failed, round(NOW_S * 1e9))
    state.add(totals, NOW_S)
    return state.summary()


SUMMARIES = {
    "fetch_weather": summary(0, 0.01),
    "slow_weather": summary(0, 5.0),
    "broken_weather": summary(50, 0.01),
}
ORDER = ["fetch_weather", "slow_weather", "broken_weather"]
OPTIONS: dict[str, Any] = {"live": False, "now_s": NOW_S}


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """Three equivalent tools, and one that does something else."""
    with ToolStore(tmp_path / "tools.db") as found:
        for name in TOOLS:
            found.put(f"tool_{name}", name, "the weather of a city")
        found.put("tool_send_mail", "send_mail", "send a mail to somebody")
        found.update_perf(SUMMARIES)
        yield found


def test_llamaindex_nodes_are_ranked(store: ToolStore) -> None:
    """A post-processor of the real base class orders nodes and gives them the tools' scores."""
    needs("llama-index-core")
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import NodeWithScore, TextNode

    from shmperf.rag.llamaindex import node_postprocessor

    nodes = [
        NodeWithScore(
            node=TextNode(text="weather", metadata={"name": name, "perf_summary": SUMMARIES[name]}),
            score=0.5,
        )
        for name in TOOLS
    ]
    nodes.append(NodeWithScore(node=TextNode(text="no tool"), score=None))
    plug = node_postprocessor(**OPTIONS)
    assert isinstance(plug, BaseNodePostprocessor)
    found = plug.postprocess_nodes(nodes, query_str="weather")
    assert [one.node.metadata.get("name") for one in found] == [*ORDER, None]
    assert found[0].score is not None
    assert found[1].score is not None
    assert found[0].score > found[1].score
    assert nodes[0].score == 0.5
    best = asyncio.run(node_postprocessor(top_n=1, **OPTIONS).apostprocess_nodes(nodes))
    assert [one.node.metadata["name"] for one in best] == ["fetch_weather"]
    with pytest.raises(ValueError, match="gamma"):
        node_postprocessor(gamma=-1)


def test_fastmcp_lists_the_best_first() -> None:
    """A client of a real server sees its tools ranked, and can call them."""
    needs("fastmcp", 2)
    from fastmcp import Client, FastMCP

    from shmperf.rag.fastmcp import ranked_listing

    async def listed(**options: Any) -> list[str]:
        server = FastMCP(
            "weather", middleware=[ranked_listing(summaries=SUMMARIES, **OPTIONS, **options)]
        )
        for name in TOOLS:
            server.tool(lambda city: f"rain in {city}", name=name)
        async with Client(server) as client:
            names = [tool.name for tool in await client.list_tools()]
            result = await client.call_tool(names[-1], {"city": "Oslo"})
            assert result.content[0].text == "rain in Oslo"
        return names

    assert asyncio.run(listed()) == ORDER
    assert asyncio.run(listed(top_n=2)) == ORDER[:2]


def offered(capability: Any, prompt: str, *, later: bool) -> list[list[str]]:
    """The tools that an agent's model was offered, step by step; at first it searches for more."""
    from pydantic_ai import Agent, Tool
    from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
    from pydantic_ai.models.function import FunctionModel

    steps: list[list[str]] = []

    def model(messages: Any, info: Any) -> ModelResponse:
        steps.append([tool.name for tool in info.function_tools])
        if later and len(steps) == 1:
            return ModelResponse([ToolCallPart("search_tools", {"queries": ["weather"]})])
        return ModelResponse([TextPart("done")])

    def work(city: str) -> str:
        return city

    names = (*TOOLS, "send_mail")
    tools = [Tool(work, name=name, takes_ctx=False, defer_loading=later) for name in names]
    agent = Agent(FunctionModel(model), tools=tools, capabilities=[capability])
    agent.run_sync(prompt)
    return steps


def test_pydantic_ai_is_offered_the_best_first(store: ToolStore) -> None:
    """Those that the store finds for the prompt come first, ranked, then the others."""
    needs("pydantic-ai-slim", 2)
    from pydantic_ai.capabilities import PrepareTools

    from shmperf.rag.pydantic_ai import prepare_tools

    for given, expected in (
        (prepare_tools(store, **OPTIONS), [*ORDER, "send_mail"]),
        (prepare_tools(store, top_n=1, **OPTIONS), ORDER[:1]),
        (
            prepare_tools(summaries=store, **OPTIONS),
            ["fetch_weather", "send_mail", "slow_weather", "broken_weather"],
        ),
    ):
        assert offered(PrepareTools(given), "the weather, please", later=False) == [expected]


def test_pydantic_ai_finds_the_best_of_deferred_tools(store: ToolStore) -> None:
    """The model's search brings what the store finds, the best *top_n*, and nothing else."""
    needs("pydantic-ai-slim", 2)
    from pydantic_ai.capabilities import ToolSearch

    from shmperf.rag.pydantic_ai import search_tools

    strategy = search_tools(store, top_n=2, **OPTIONS)
    assert strategy(None, ["weather", "city"], []) == []
    first, second = offered(ToolSearch(strategy=strategy), "what now?", later=True)
    assert not set(first) & {*TOOLS, "send_mail"}
    assert set(second) & {*TOOLS, "send_mail"} == {"fetch_weather", "slow_weather"}
