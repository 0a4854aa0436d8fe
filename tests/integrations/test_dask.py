"""Dask: tasks in the workers of a real local cluster."""

from __future__ import annotations

import pytest

from tests.support import Place, needs

from .frameworks import calls, counts, edges, only, run

needs("distributed")

TASKS = """
    import shmperf

    @shmperf.track
    def locate(city):
        return city.lower()

    @shmperf.track
    def forecast(city):
        return "rain in " + locate(city)

    def broken(city):
        raise ValueError("no such city")

    async def late(city):
        raise TimeoutError
"""

CLIENT = """
    import os, shmperf
    # Workers log what their tasks raise.
    os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
    import tasks
    from distributed import Client, LocalCluster, wait

    def use(**options):
        cluster = LocalCluster(dashboard_address=None, **options)
        with cluster, Client(cluster) as client:
            with shmperf.call("agent"):
                forecasts = client.map(tasks.forecast, ["A", "B", "C"])
                sent = [client.submit(tasks.broken, "D"), client.submit(tasks.late, "E")]
                client.gather(forecasts)
                wait(sent)
                assert [one.status for one in sent] == ["error", "error"]
"""

COUNTS = {"agent": (1, 0), "forecast": (3, 0), "locate": (3, 0), "broken": (1, 1), "late": (1, 1)}
EDGES = {
    (None, "agent", 1),
    ("agent", "forecast", 3),
    ("forecast", "locate", 3),
    ("agent", "broken", 1),
    ("agent", "late", 1),
}


@pytest.mark.parametrize("options", ["n_workers=2, threads_per_worker=2", "processes=False"])
def test_tasks_have_names_parents_and_outcomes(place: Place, options: str) -> None:
    """A task is a call in its worker, beneath who submitted it, in processes and threads."""
    place.write("tasks.py", TASKS)
    run(
        place,
        CLIENT,
        f"""
        if __name__ == "__main__":
            shmperf.instrument("dask")
            use({options})
        """,
        optimize=True,
    )
    assert counts(place) == COUNTS
    assert edges(place) == EDGES
    assert only(place, "broken")["err"] == "ValueError"
    assert only(place, "late")["status"] == "timeout"
    assert sorted(one["params"]["city"] for one in calls(place, "forecast")) == ["A", "B", "C"]
    metadata = only(place, "broken")["metadata"]
    assert metadata["source"] == "dask"
    assert metadata["call_id"].startswith("broken-")
    is_in_client = only(place, "broken")["pid"] == only(place, "agent")["pid"]
    assert is_in_client == ("processes=False" in options)


def test_an_asynchronous_client(place: Place) -> None:
    """A client in an event loop registers the plugin too, and its tasks have parents."""
    place.write("tasks.py", TASKS)
    run(
        place,
        CLIENT,
        """
        import asyncio

        async def main():
            options = {"dashboard_address": None, "processes": False, "asynchronous": True}
            async with LocalCluster(**options) as cluster:
                async with Client(cluster, asynchronous=True) as client:
                    async with shmperf.call("agent"):
                        assert await client.submit(tasks.forecast, "A") == "rain in a"

        if __name__ == "__main__":
            shmperf.instrument("dask")
            asyncio.run(main())
        """,
    )
    assert edges(place) == {(None, "agent", 1), ("agent", "forecast", 1), ("forecast", "locate", 1)}


def test_a_tracked_function_of_the_program_itself_is_sent(place: Place) -> None:
    """A function that workers can't import arrives tracked, under its name."""
    run(
        place,
        CLIENT.replace("import tasks", ""),
        """
        @shmperf.track("where")
        def locate(city):
            return city.lower()

        @shmperf.track
        def forecast(city):
            return "rain in " + locate(city)

        if __name__ == "__main__":
            shmperf.instrument("dask")
            cluster = LocalCluster(dashboard_address=None, n_workers=1)
            with cluster, Client(cluster) as client:
                assert client.submit(forecast, "A").result() == "rain in a"
        """,
    )
    assert edges(place) == {(None, "forecast", 1), ("forecast", "where", 1)}
    assert only(place, "where")["p"] == {"city": "A"}


def test_the_plugin_by_hand_and_uninstrument(place: Place) -> None:
    """A registered plugin records alone; `uninstrument` restores the client and the workers."""
    place.write("tasks.py", TASKS)
    run(
        place,
        CLIENT,
        """
        from shmperf.integrations.dask import worker_plugin

        if __name__ == "__main__":
            before = vars(Client)["_start"], vars(Client)["_graph_to_futures"]
            cluster = LocalCluster(dashboard_address=None, processes=False)
            with cluster, Client(cluster) as client:
                shmperf.instrument("dask")
                client.submit(tasks.forecast, "A").result()
                shmperf.uninstrument("dask")
                assert (vars(Client)["_start"], vars(Client)["_graph_to_futures"]) == before
                wait(client.submit(tasks.broken, "B"))
                client.register_plugin(worker_plugin())
                wait(client.submit(tasks.broken, "C"))
        """,
    )
    assert counts(place) == {"forecast": (1, 0), "locate": (1, 0), "broken": (1, 1)}
    assert only(place, "broken")["p"] == {"city": "C"}
