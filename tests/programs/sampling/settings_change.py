"""A tool that is sampled in three different ways one after the other; waits between them."""

from shmperf import call, track


@track
def tool(n):
    return n


@track
def other(n):
    return n


for _ in range(3):
    for n in range(2_000):
        tool(n)
        with call("block"):
            other(n)
    print("done", flush=True)
    input()
