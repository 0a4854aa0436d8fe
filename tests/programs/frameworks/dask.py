import asyncio
import os
import sys

import tasks

import shmperf

# Workers log what their tasks raise.
os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"
from distributed import Client, LocalCluster, wait

PLACES = {
    "processes": {"n_workers": 2, "threads_per_worker": 2},
    "threads": {"processes": False},
}


# Not in `tasks`: workers can't import these two.
@shmperf.track("where")
def locate(city):
    return city.lower()


@shmperf.track
def forecast(city):
    return "rain in " + locate(city)


def made(**options):
    return LocalCluster(dashboard_address=None, **options)


def tasks_of_cluster(where):
    shmperf.instrument("dask")
    with made(**PLACES[where]) as cluster, Client(cluster) as client:
        with shmperf.call("agent"):
            forecasts = client.map(tasks.forecast, ["A", "B", "C"])
            sent = [client.submit(tasks.broken, "D"), client.submit(tasks.late, "E")]
            client.gather(forecasts)
            wait(sent)
            assert [one.status for one in sent] == ["error", "error"]


def asynchronous_client():
    async def use():
        async with made(processes=False, asynchronous=True) as cluster:
            async with Client(cluster, asynchronous=True) as client:
                async with shmperf.call("agent"):
                    assert await client.submit(tasks.forecast, "A") == "rain in a"

    shmperf.instrument("dask")
    asyncio.run(use())


def function_of_program_sent():
    shmperf.instrument("dask")
    with made(n_workers=1) as cluster, Client(cluster) as client:
        assert client.submit(forecast, "A").result() == "rain in a"


def plugin_by_hand_and_uninstrument():
    from shmperf.integrations.dask import worker_plugin

    before = vars(Client)["_start"], vars(Client)["_graph_to_futures"]
    with made(processes=False) as cluster, Client(cluster) as client:
        shmperf.instrument("dask")
        client.submit(tasks.forecast, "A").result()
        shmperf.uninstrument("dask")
        assert (vars(Client)["_start"], vars(Client)["_graph_to_futures"]) == before
        wait(client.submit(tasks.broken, "B"))
        client.register_plugin(worker_plugin())
        wait(client.submit(tasks.broken, "C"))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
