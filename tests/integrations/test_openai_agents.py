"""OpenAI Agents: the function tools of an agent with a scripted model."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("openai-agents")


def test_an_agents_tools_have_names_parents_and_outcomes(place: Place) -> None:
    """Function tools are children of who ran the agent; an error told to the model is one."""
    run(
        place,
        "frameworks/openai_agents",
        "agents_tools_have_names_parents_outcomes",
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
        "frameworks/openai_agents",
        "error_ends_run_cancels_sibling",
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
        "frameworks/openai_agents",
        "processor_by_hand_counts_once_beside",
    )
    assert counts(place) == {"forecast": (2, 0), "locate": (2, 0)}


def test_uninstrument_leaves_other_processors_alone(place: Place) -> None:
    """The provider has the processors that it had before."""
    run(
        place,
        "frameworks/openai_agents",
        "uninstrument_leaves_other_processors_alone",
    )
    assert counts(place) == {"locate": (1, 0)}
