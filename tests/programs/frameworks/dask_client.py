"""Submits tasks to a scheduler at an address until every worker has had one; prints the parent."""

import sys

import tasks

import shmperf

shmperf.instrument("dask")
from distributed import Client

with Client(sys.argv[1]) as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=60)
    workers = sorted(client.scheduler_info()["workers"])
    with shmperf.call("agent"):
        print(shmperf.traceparent())
        sent = [
            client.submit(tasks.forecast, f"{city} {number}", workers=[address])
            for number, address in enumerate(workers)
            for city in "ABC"
        ]
        client.gather(sent)
