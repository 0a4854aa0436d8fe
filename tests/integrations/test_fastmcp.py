"""FastMCP servers: their tools, once, with parents and outcomes."""

from __future__ import annotations

import pytest

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("fastmcp", 2)

COUNTS = {"agent": (1, 0), "forecast": (2, 0), "locate": (2, 0), "broken": (1, 1), "late": (1, 1)}


@pytest.mark.parametrize("names", ["fastmcp", "fastmcp mcp", "mcp fastmcp"])
def test_a_servers_tools_are_counted_once(place: Place, names: str) -> None:
    """With the SDK's hooks or without, decorated or not, each call is one call."""
    run(place, "frameworks/fastmcp", "servers_tools_counted_once", *names.split())
    assert counts(place) == COUNTS
    assert ("forecast", "locate", 2) in edges(place)
    assert sorted(one["p"]["city"] for one in calls(place, "forecast")) == ["A", "B"]
    if "mcp" not in names.replace("fastmcp", ""):
        # Only the server sees its tool's own exception.
        assert only(place, "broken")["err"] == "ValueError"
        assert only(place, "late")["status"] == "timeout"
    else:
        assert edges(place) == {
            (None, "agent", 1),
            ("agent", "forecast", 2),
            ("forecast", "locate", 2),
            ("agent", "broken", 1),
            ("agent", "late", 1),
        }


def test_the_middleware_by_hand_counts_once_beside_the_switch(place: Place) -> None:
    """A server that was given the middleware and has the switch on has one call, with metadata."""
    run(
        place,
        "frameworks/fastmcp",
        "middleware_by_hand_counts_once_beside",
        optimize=True,
    )
    assert counts(place) == COUNTS
    metadata = only(place, "broken")["metadata"]
    assert (metadata["source"], metadata["server"]) == ("fastmcp", "weather")
    assert metadata["call_id"]


def test_tools_called_in_the_program_and_by_tools(place: Place) -> None:
    """``server.call_tool`` without a client is a call, and so is a tool that calls another."""
    run(
        place,
        "frameworks/fastmcp",
        "tools_called_program_by_tools",
    )
    assert edges(place) == {(None, "plan", 1), ("plan", "forecast", 1), ("forecast", "locate", 1)}


def test_a_mounted_servers_tool_is_one_call(place: Place) -> None:
    """A call that passes through two servers is counted once, as the client knows it."""
    run(
        place,
        "frameworks/fastmcp",
        "mounted_servers_tool_one_call",
    )
    assert edges(place) == {(None, "sub_forecast", 1), ("sub_forecast", "locate", 1)}


def test_uninstrument_restores_class_and_servers(place: Place) -> None:
    """The class and every server are as they were before."""
    run(
        place,
        "frameworks/fastmcp",
        "uninstrument_restores_class_servers",
    )
    assert counts(place) == {"agent": (1, 0), "forecast": (2, 0), "locate": (2, 0)}


def test_a_server_is_in_the_trace_of_its_client(place: Place) -> None:
    """By the request's ``_meta.traceparent``."""
    run(place, "frameworks/fastmcp", "server_in_trace_of_its_client")
    found = {one["p"]["city"]: one.get("remote") for one in calls(place, "forecast")}
    remote = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
    assert found == {"A": remote, "B": None, "C": None}
