import asyncio
import multiprocessing
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import Pool
from multiprocessing.pool import ThreadPool

import shmperf

# Nothing is switched on here, so that workers which import this program have nothing on either.


@shmperf.track
def leaf(x):
    return x


def switched_on():
    return shmperf.uninstrument("celery"), ThreadPoolExecutor.submit.__module__


def forked_within_call():
    shmperf.instrument("multiprocessing", "concurrent.futures", "threading")
    with shmperf.call("founding"):
        pool = multiprocessing.get_context("fork").Pool(1)
    with pool:
        assert pool.apply(abs, (-1,)) == 1


def threads_of_pools_left_alone():
    shmperf.instrument("threading")
    queue = multiprocessing.Queue()
    with ThreadPoolExecutor(1) as executor, ProcessPoolExecutor(1) as processes:
        with Pool(1) as pool, ThreadPool(1) as threads:
            for sent in (executor.submit(leaf, 1), processes.submit(leaf, 1)):
                assert sent.result() == 1
            assert pool.apply(leaf, (1,)) == threads.apply(leaf, (1,)) == 1
    queue.put(1)
    queue.get()

    async def use():
        await asyncio.to_thread(leaf, 1)

    asyncio.run(use())


def tasks_in_flight_go_on():
    go = threading.Event()

    def hold(x):
        assert go.wait(float(os.environ["TESTS_DEADLINE_S"]))
        return x

    with ThreadPoolExecutor(2) as executor:
        shmperf.instrument("concurrent.futures")
        shmperf.instrument("concurrent.futures")
        before = [executor.submit(hold, at) for at in range(4)]
        shmperf.uninstrument("concurrent.futures")
        after = [executor.submit(hold, at) for at in range(4)]
        go.set()
        assert [one.result() for one in (*before, *after)] == [0, 1, 2, 3] * 2


def what_does_not_pickle_fails_as_before(kind):
    def reason():
        try:
            with globals()[kind](1) as pool:
                list(pool.map(lambda x: x, [1]))
        except Exception as error:  # noqa: BLE001  the pool says which
            return type(error).__name__, str(error).partition(" at ")[0]

    first = reason()
    shmperf.instrument()
    print(first == reason(), first)


def spawned_workers_need_nothing_patched():
    shmperf.instrument("multiprocessing", "concurrent.futures")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(*pool.apply(switched_on))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
