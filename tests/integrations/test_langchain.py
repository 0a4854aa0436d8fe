"""LangChain and LangGraph: tools under their names, with parents and outcomes."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("langgraph")


def test_an_agents_tools_have_names_parents_and_outcomes(place: Place) -> None:
    """A ToolNode's calls are children of who ran the agent, nested tools of their tools."""
    run(
        place,
        "frameworks/langchain",
        "agents_tools_have_names_parents_outcomes",
    )
    # `search` is decorated as well, and counted once.
    assert counts(place) == {"agent": (1, 0), "search": (2, 0), "lookup": (2, 0), "broken": (1, 1)}
    assert edges(place) == {
        (None, "agent", 1),
        ("agent", "search", 2),
        ("search", "lookup", 2),
        ("agent", "broken", 1),
    }
    searches = {one["id"]: one["p"] for one in calls(place, "search")}
    assert sorted(one["query"] for one in searches.values()) == ["a", "b"]
    assert {one["parent"] for one in calls(place, "lookup")} == set(searches)
    failed = only(place, "broken")
    assert (failed["status"], failed["err"]) == ("error", "ValueError")


def test_async_tools_time_out_and_are_cancelled(place: Place) -> None:
    """An async tool's parent is right, a timeout is one, and a cancelled tool is no error."""
    run(place, "frameworks/langchain", "async_tools_time_out_cancelled")
    assert counts(place) == {
        "agent": (1, 0),
        "outer": (5, 0),
        "lookup": (5, 0),
        "slow": (1, 1),
        "endless": (1, 0),
    }
    assert edges(place) == {
        (None, "agent", 1),
        ("agent", "outer", 5),
        ("outer", "lookup", 5),
        ("agent", "slow", 1),
        ("agent", "endless", 1),
    }
    assert only(place, "slow")["status"] == "timeout"
    assert only(place, "endless")["status"] == "cancelled"
    assert len({one["parent"] for one in calls(place, "lookup")}) == 5


def test_an_interrupted_tool_is_no_error(place: Place) -> None:
    """A tool that waits for a person is cancelled, and runs again when there is an answer."""
    run(
        place,
        "frameworks/langchain",
        "interrupted_tool_no_error",
    )
    assert counts(place) == {"approved": (2, 0)}
    first, second = sorted(calls(place, "approved"), key=lambda one: one["s"])
    assert (first["status"], first["err"]) == ("cancelled", "GraphInterrupt")
    assert "status" not in second


def test_detail_has_source_node_and_call_id(place: Place) -> None:
    """Optimization mode keeps where a call came from, its parameters and its error's text."""
    run(
        place,
        "frameworks/langchain",
        "detail_has_source_node_call_id",
        optimize=True,
    )
    failed = only(place, "broken")
    assert failed["metadata"] == {"source": "langchain", "call_id": "call-0", "node": "tools"}
    assert failed["params"] == {"query": "c"}
    assert "no such thing" in failed["error"]


def test_a_handler_by_hand_counts_once_beside_the_switch(place: Place) -> None:
    """The exported handler works alone, and a run that has it twice is counted once."""
    run(
        place,
        "frameworks/langchain",
        "handler_by_hand_counts_once_beside",
    )
    assert counts(place) == {"lookup": (2, 0)}


def test_a_tool_that_calls_itself_is_two_calls(place: Place) -> None:
    """Counting once what two have seen does not swallow recursion."""
    run(
        place,
        "frameworks/langchain",
        "tool_calls_itself_two_calls",
    )
    assert counts(place) == {"descend": (3, 0)}
    assert edges(place) == {(None, "descend", 1), ("descend", "descend", 2)}


def test_uninstrument_leaves_nothing(place: Place) -> None:
    """The hook is gone without a trace, and comes again."""
    run(
        place,
        "frameworks/langchain",
        "uninstrument_leaves_nothing",
    )
    assert counts(place) == {"lookup": (1, 0)}


def test_a_version_without_the_hook_is_named(place: Place) -> None:
    """One line says what is missing and which versions have it."""
    out = run(place, "frameworks/langchain", "version_without_hook_named")
    assert "langchain-core" in out
    assert ">=0.2" in out
