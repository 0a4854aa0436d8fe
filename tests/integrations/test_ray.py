"""Ray: tasks and actors in the workers of a real local instance."""

from __future__ import annotations

from tests.support import Place, needs

from .frameworks import calls, counts, only, run

needs("ray", 2)

TASKS = """
    import asyncio, ray, shmperf

    @shmperf.track
    def locate(city):
        return city.lower()

    @ray.remote
    def forecast(city, days=1):
        return "rain in " + locate(city)

    @ray.remote
    def broken(city):
        raise ValueError("no such city")

    @ray.remote
    class Station:
        def measure(self, city):
            return locate(city)

        def count(self):
            for city in "FG":
                yield locate(city)

        def fail(self):
            raise TimeoutError

    @ray.remote
    class Observatory:
        async def look(self, city):
            await asyncio.sleep(0)
            return locate(city)

    @ray.remote
    @shmperf.track
    def decorated(city):
        return locate(city)
"""

PROGRAM = """
    import shmperf, ray
    from tasks import *

    def failure(sent):
        try:
            ray.get(sent)
        except Exception as error:
            return type(error).__name__

    def use():
        station, observatory = Station.remote(), Observatory.remote()
        assert ray.get(forecast.remote("A", days=2)) == "rain in a"
        assert ray.get(decorated.remote("E")) == "e"
        assert ray.get(station.measure.remote("B")) == "b"
        counted = station.count.options(num_returns="streaming").remote()
        assert [ray.get(one) for one in counted] == ["f", "g"]
        assert ray.get(observatory.look.remote("C")) == "c"
        assert failure(broken.remote("D")) and failure(station.fail.remote())
"""

OPTIONS = 'num_cpus=3, include_dashboard=False, log_to_driver=False, logging_level="ERROR"'


def test_tasks_and_actors_have_names_and_outcomes(place: Place) -> None:
    """Tasks and methods are calls in their workers, and what they call is beneath them."""
    place.write("tasks.py", TASKS)
    run(
        place,
        PROGRAM,
        f"""
        before = ray.init
        shmperf.instrument("ray")
        ray.init({OPTIONS}, _temp_dir={str(place.runtime / "ray")!r})
        use()
        ray.shutdown()
        shmperf.uninstrument("ray")
        assert ray.init is before
        """,
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
