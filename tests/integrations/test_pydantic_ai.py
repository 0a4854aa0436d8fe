"""Pydantic AI: the tools of an agent with a scripted model."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("pydantic-ai-slim", 2)


def test_a_test_models_tools_have_names_parents_and_outcomes(place: Place) -> None:
    """TestModel calls every tool; a retry is a failed call of its own, and told as one."""
    run(
        place,
        "frameworks/pydantic_ai",
        "test_models_tools_have_names_parents",
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
        "frameworks/pydantic_ai",
        "siblings_failing_tool_cancelled",
    )
    assert counts(place) == {"broken": (1, 1), "waits": (1, 0)}
    assert only(place, "broken")["err"] == "ValueError"
    assert only(place, "waits")["status"] == "cancelled"
    assert only(place, "waits")["p"] == {"city": "y"}


def test_the_capability_by_hand_counts_once_beside_the_switch(place: Place) -> None:
    """An agent with the exported capability is tracked, with the switch too and once."""
    run(
        place,
        "frameworks/pydantic_ai",
        "capability_by_hand_counts_once_beside",
    )
    assert counts(place) == {"forecast": (4, 0), "locate": (4, 0)}
    assert edges(place) == {(None, "forecast", 4), ("forecast", "locate", 4)}


def test_uninstrument_restores_the_class(place: Place) -> None:
    """The class is as it was before."""
    run(
        place,
        "frameworks/pydantic_ai",
        "uninstrument_restores_class",
    )
    assert counts(place) == {"something": (1, 0)}
