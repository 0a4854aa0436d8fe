import multiprocessing as mp

import shmperf


@shmperf.track
def tool(n, **more):
    shmperf.annotate(seen=n)


def worker(go, done):
    for n in range(2):
        go.get()
        tool(n, password="hidden", deep={"a": [1, 2]})
        done.put(n)


if __name__ == "__main__":
    context = mp.get_context("spawn")
    go, done = context.SimpleQueue(), context.SimpleQueue()
    process = context.Process(target=worker, args=(go, done))
    process.start()
    go.put(1)
    done.get()
    shmperf.set_optimization_mode(True)
    go.put(1)
    done.get()
    process.join()
