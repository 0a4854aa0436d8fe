"""Ray: tasks and actors in the workers of a real local instance."""

from __future__ import annotations

from tests.support import Place, needs, program_text

from .frameworks import calls, counts, only, run

needs("ray", 2)


def test_tasks_and_actors_have_names_and_outcomes(place: Place) -> None:
    """Tasks and methods are calls in their workers, and what they call is beneath them."""
    place.write("tasks.py", program_text("frameworks/ray_tasks"))
    run(
        place,
        "frameworks/ray",
        "tasks_and_actors",
        str(place.runtime / "ray"),
        optimize=True,
        RAY_AUTH_MODE="disabled",
        RAY_USAGE_STATS_ENABLED="0",
    )
    found = counts(place)
    assert found.pop("locate") == (6, 0)
    assert found == {
        "forecast": (1, 0),
        "broken": (1, 1),
        "measure": (1, 0),
        "fail": (1, 1),
        "look": (1, 0),
        "count": (1, 0),
        # Decorated and a task: counted once.
        "decorated": (1, 0),
    }
    parents = {one["parent_tool"] for one in calls(place, "locate")}
    tools = ("forecast", "measure", "look", "decorated", "count")
    assert parents == {only(place, tool)["id"] for tool in tools}
    assert only(place, "forecast")["params"] == {"city": "A", "days": 2}
    assert only(place, "measure")["params"] == {"city": "B"}
    assert only(place, "look")["params"] == {"city": "C"}
    assert only(place, "broken")["err"] == "ValueError"
    assert only(place, "fail")["status"] == "timeout"
    assert only(place, "forecast")["metadata"]["call_id"]
