import asyncio
import sys

from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

import shmperf


@tool
def lookup(key: str) -> str:
    "Look a key up."
    return key.upper()


@tool
@shmperf.track
def search(query: str) -> str:
    "Search."
    return lookup.invoke({"key": query})


@tool
def broken(query: str) -> str:
    "Fail."
    raise ValueError("no such thing")


@tool
async def slow(query: str) -> str:
    "Take too long."
    raise TimeoutError


CALLS = [("search", "a"), ("search", "b"), ("broken", "c")]


def scripted(names):
    def model(state):
        if len(state["messages"]) > 1:
            return {"messages": [AIMessage("done")]}
        calls = [
            {"name": name, "args": {"query": query}, "id": f"call-{at}"}
            for at, (name, query) in enumerate(names)
        ]
        return {"messages": [AIMessage("", tool_calls=calls)]}

    return model


def agent(names):
    graph = StateGraph(MessagesState)
    graph.add_node("model", scripted(names))
    graph.add_node("tools", ToolNode([search, broken, slow], handle_tool_errors=True))
    graph.add_edge(START, "model")
    graph.add_conditional_edges(
        "model", lambda state: "tools" if state["messages"][-1].tool_calls else END
    )
    graph.add_edge("tools", "model")
    return graph.compile()


START_WITH = {"messages": [HumanMessage("go")]}


def agents_tools_have_names_parents_outcomes() -> None:
    shmperf.instrument("langchain")
    with shmperf.call("agent"):
        agent(CALLS).invoke(START_WITH)


def interrupted_tool_no_error() -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.types import Command, interrupt

    shmperf.instrument("langchain")

    @tool
    def approved(query: str) -> str:
        "Ask a person."
        return interrupt("may I?")

    graph = StateGraph(MessagesState)
    graph.add_node("model", scripted([("approved", "a")]))
    graph.add_node("tools", ToolNode([approved]))
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    compiled = graph.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    compiled.invoke(START_WITH, config)
    compiled.invoke(Command(resume="yes"), config)


def detail_has_source_node_call_id() -> None:
    shmperf.instrument("langchain")
    agent([("broken", "c")]).invoke(START_WITH)


def handler_by_hand_counts_once_beside() -> None:
    from shmperf.integrations.langchain import callback_handler

    given = {"callbacks": [callback_handler()]}
    lookup.invoke({"key": "alone"}, given)
    shmperf.instrument("langchain")
    lookup.invoke({"key": "both"}, given)


def tool_calls_itself_two_calls() -> None:
    shmperf.instrument("langchain")

    @tool
    @shmperf.track
    def descend(depth: int) -> str:
        "Go down."
        return descend.invoke({"depth": depth - 1}) if depth else "bottom"

    descend.invoke({"depth": 2})


def uninstrument_leaves_nothing() -> None:
    from langchain_core.tracers import context

    before = list(context._configure_hooks)
    shmperf.instrument("langchain", "langchain")
    assert len(context._configure_hooks) == len(before) + 1
    shmperf.uninstrument("langchain")
    assert context._configure_hooks == before
    lookup.invoke({"key": "unseen"})
    shmperf.instrument("langchain")
    lookup.invoke({"key": "seen"})


def async_tools_time_out_cancelled() -> None:
    shmperf.instrument("langchain")
    started = asyncio.Event()

    @tool
    async def endless(query: str) -> str:
        "Never answer."
        started.set()
        await asyncio.Event().wait()

    @tool
    async def outer(query: str) -> str:
        "Ask another one."
        return await lookup.ainvoke({"key": query})

    async def use():
        async with shmperf.call("agent"):
            await asyncio.gather(*(outer.ainvoke({"query": str(at)}) for at in range(5)))
            await agent([("slow", "a")]).ainvoke(START_WITH)
            task = asyncio.create_task(endless.ainvoke({"query": "b"}))
            await started.wait()
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()

    asyncio.run(use())


def version_without_hook_named() -> None:
    from langchain_core.tracers import context

    from shmperf.errors import IntegrationError

    del context.register_configure_hook
    try:
        shmperf.instrument("langchain")
    except IntegrationError as error:
        print(error)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
