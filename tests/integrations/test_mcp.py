"""The MCP SDK's server and client: one call, whichever side sees it."""

from __future__ import annotations

import json

import pytest

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("mcp", 2)


def test_client_and_server_in_one_process_are_one_call(place: Place) -> None:
    """Client, server and decorator see a call; it is counted once and its children are its own."""
    run(place, "frameworks/mcp", "client_server_one_process_one_call")
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
    assert only(place, "broken")["err"] == "ToolError"


def test_the_middleware_by_hand_sees_the_server_alone(place: Place) -> None:
    """A server with the exported middleware records its calls, with its own metadata."""
    run(
        place,
        "frameworks/mcp",
        "middleware_by_hand_sees_server",
        optimize=True,
    )
    assert counts(place) == {
        "agent": (1, 0),
        "forecast": (2, 0),
        "locate": (2, 0),
        "broken": (1, 1),
    }
    failed = only(place, "broken")
    assert failed["params"] == {"city": "C"}
    assert failed["metadata"]["source"] == "mcp"
    assert failed["metadata"]["call_id"]
    # The SDK tells clients no more than this.
    assert failed["error"].startswith("ToolError: Error executing tool broken")


REMOTE = "4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"


def test_a_server_is_in_the_trace_of_its_client(place: Place) -> None:
    """By the request's ``_meta.traceparent``, where no call of ours leads to it."""
    run(place, "frameworks/mcp", "server_in_trace_of_its_client")
    found = {one["p"]["city"]: one.get("remote") for one in calls(place, "forecast")}
    assert found == {"A": REMOTE, "B": None, "C": None}
    assert counts(place)["locate"] == (3, 0)


def test_a_client_hands_its_trace_on(place: Place) -> None:
    """The span of its call, beside what the program sends, and not in the place of another."""
    out = run(place, "frameworks/mcp", "server_tells_trace")
    first, second = (json.loads(line) for line in out.splitlines() if line.startswith("{"))
    spans = [one["id"] for one in calls(place, "forecast")]
    assert first["mine"] == 1
    assert first["traceparent"][36:52] == spans[0]
    assert second["traceparent"] == f"00-{REMOTE}-01"


@pytest.mark.parametrize("server_tracks", ["", "1"])
def test_client_and_server_in_two_processes_are_one_call(place: Place, server_tracks: str) -> None:
    """Over stdio the id travels with the request: what the tool calls is beneath the call."""
    run(place, "frameworks/mcp", "client_server_two_processes", SERVER_TRACKS=server_tracks)
    found = counts(place)
    timed_out = found.pop("endless")
    assert timed_out == (1, 1)
    # Without the hook, the server's decorated function knows nothing of the client.
    expected = 1 if server_tracks else 2
    assert found == {
        "agent": (1, 0),
        "forecast": (expected, 0),
        "locate": (1, 0),
        "broken": (1, 1),
    }
    (root,) = calls(place, "agent")
    asked = [one for one in calls(place, "forecast") if one["pid"] == root["pid"]]
    assert [one["parent"] for one in asked] == [root["id"]]
    assert {one["status"] for one in calls(place, "endless")} == {"timeout"}
    if server_tracks:
        located = only(place, "locate")
        assert located["parent"] == asked[0]["id"]
        assert located["pid"] != root["pid"]


def test_uninstrument_restores_classes_and_servers(place: Place) -> None:
    """Classes are as before, and so are servers made before and meanwhile."""
    run(
        place,
        "frameworks/mcp",
        "uninstrument_restores_classes_servers",
    )
    # What is decorated is still tracked.
    assert counts(place) == {"agent": (1, 0), "forecast": (2, 0), "locate": (2, 0)}


def test_a_version_without_middleware_is_named(place: Place) -> None:
    """One line says which versions have the hook."""
    out = run(place, "frameworks/mcp", "version_without_middleware_named")
    assert "mcp >=2.0" in out
