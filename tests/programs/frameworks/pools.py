import asyncio
import contextvars
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import Pool
from multiprocessing.pool import ThreadPool

import shmperf

# In workers that import this program again too.
shmperf.instrument("multiprocessing", "concurrent.futures", "threading")


@shmperf.track
def leaf(x):
    return x


def work(x, y=0):
    return leaf(x) + y


def fail(x):
    raise LookupError(x)


def die(x):
    os.kill(os.getpid(), signal.SIGKILL)


def outer(x):
    with ThreadPoolExecutor(4) as threads:
        return sum(threads.map(work, range(x)))


@shmperf.track(params=["x"])
def chosen(x, password=None):
    return x


@shmperf.track("renamed")
def original(x):
    return x


class Thing:
    def method(self, x):
        return x

    @staticmethod
    def still(x):
        return x

    def __call__(self, x):
        return x


def tasks_of_pool(method):
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.apply(work, (1,), {"y": 2}) == 3
        assert pool.apply_async(func=work, args=(1, 2)).get() == 3
        both = pool.map(work, range(5)), pool.map_async(work, range(5)).get()
        assert both == ([0, 1, 2, 3, 4],) * 2
        assert pool.starmap(work, [(1, 2)]) == pool.starmap_async(work, [(1, 2)]).get() == [3]
        assert list(pool.imap(work, range(3))) == list(pool.imap(work, range(3), 2)) == [0, 1, 2]
        assert sorted(pool.imap_unordered(work, iter(range(3)))) == [0, 1, 2]


def tasks_of_process_executor(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        assert executor.submit(work, 1, y=2).result() == 3
        assert list(executor.map(work, range(5), range(5))) == [0, 2, 4, 6, 8]
        assert list(executor.map(work, range(5), chunksize=2)) == [0, 1, 2, 3, 4]


def tasks_in_threads():
    with ThreadPoolExecutor(2) as executor, ThreadPool(2) as pool:
        assert executor.submit(work, 1, y=2).result() == 3
        assert list(executor.map(work, range(5))) == pool.map(work, range(5)) == [0, 1, 2, 3, 4]
        context = contextvars.copy_context()
        assert executor.submit(context.run, work, 1, 2).result() == 3

        async def use():
            loop = asyncio.get_running_loop()
            return [await asyncio.to_thread(work, 1), await loop.run_in_executor(executor, work, 1)]

        assert asyncio.run(use()) == [1, 1]


def tasks_in_contexts():
    """Every way to hand over a function that is to run in a context made before any call."""
    context = contextvars.Context()
    partial = functools.partial

    def ran(kind, *args, **kwargs):
        thread = kind(*args, **kwargs)
        thread.start()
        thread.join()

    ran(threading.Thread, target=context.run, args=(leaf, 1))
    ran(threading.Thread, target=partial(context.run, leaf), kwargs={"x": 2})
    ran(threading.Timer, 0, context.run, (leaf, 3))
    with ThreadPoolExecutor(1) as executor, ThreadPool(1) as pool:
        assert pool.apply_async(context.run, (leaf, 4)).get() == 4
        assert pool.map(partial(context.run, leaf), [5]) == [5]
        assert pool.map(context.run, [partial(leaf, 6)]) == [6]
        assert executor.submit(context.run, leaf, 7).result() == 7
        assert executor.submit(partial(context.run), leaf, x=8).result() == 8
        assert executor.submit(context.run, shmperf.propagate(leaf), 9).result() == 9
        assert list(executor.map(context.run, [partial(leaf, 10)])) == [10]
        assert executor.submit(context.run, work, 11).result() == 11


def tasks_that_hold_contexts():
    """Every way to run a function in a context that was copied where the task was handed over."""

    def within(context, number):
        return context.run(leaf, number)

    def held(number):
        context = contextvars.copy_context()
        run = functools.partial(context.run, leaf, number)
        return context, run

    async def in_loop():
        loop = asyncio.get_running_loop()
        context, run = held(1)
        assert await loop.run_in_executor(None, lambda: context.run(leaf, 1)) == 1
        assert await loop.run_in_executor(None, lambda: run()) == 1
        assert await asyncio.to_thread(within, contextvars.copy_context(), 1) == 1

    asyncio.run(in_loop())
    context, run = held(2)
    with ThreadPoolExecutor(1) as executor, ThreadPool(1) as pool:
        assert executor.submit(lambda: context.run(leaf, 2)).result() == 2
        # Once more in the same one, and then beneath the call from which it was copied.
        assert executor.submit(lambda: context.run(leaf, 2)).result() == 2
        assert executor.submit(lambda copied=context: copied.run(leaf, 2)).result() == 2
        assert executor.submit(within, context, 2).result() == 2
        assert executor.submit(functools.partial(within, context, number=2)).result() == 2
        assert pool.apply(lambda: run()) == 2
    thread = threading.Thread(target=lambda: context.run(leaf, 2))
    thread.start()
    thread.join()
    assert context.run(leaf, 3) == 3


def tracked_function_counted_once(kind):
    with globals()[kind](2) as executor:
        assert executor.submit(leaf, 1).result() == 1
        assert executor.submit(functools.partial(leaf, x=2)).result() == 2
        assert executor.submit(shmperf.propagate(leaf), 3).result() == 3
        assert executor.submit(original, 4).result() == 4
        assert executor.submit(chosen, 5, password="hidden").result() == 5


def task_hands_itself_on():
    def plain(depth):
        return executor.submit(plain, depth - 1).result() if depth else "done"

    @shmperf.track
    def tracked(depth):
        return executor.submit(tracked, depth - 1).result() if depth else "done"

    with ThreadPoolExecutor(4) as executor:
        assert executor.submit(plain, 2).result() == tracked(2) == "done"


def kinds_of_callable():
    thing = Thing()
    with Pool(1) as pool:
        for function in (thing.method, Thing.still, thing, functools.partial(Thing.method, thing)):
            assert pool.apply(function, (7,)) == 7
        assert pool.map(Thing.method.__get__(thing), [7]) == [7]
        assert pool.starmap(Thing.method, [(thing, 7)]) == [7]
        assert pool.apply(int, ("7",)) == pool.apply(abs, (-7,)) == 7


def exception_passes_on(kind):
    with globals()[kind](1) as pool:
        try:
            if kind == "Pool":
                pool.apply(fail, (5,))
            else:
                pool.submit(fail, 5).result()
        except LookupError as error:
            print(error.args)


def killed_worker_of_executor(method):
    context = multiprocessing.get_context(method)
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        sent = [executor.submit(work, 1), executor.submit(die, 2), executor.submit(work, 3)]
        assert sent[0].result() == 1
        assert all(isinstance(one.exception(), BrokenProcessPool) for one in sent[1:])


def killed_worker_of_pool():
    with Pool(1) as pool:
        pool.apply_async(die, (1,))
        assert pool.apply(work, (2,)) == 2


def waiting_apart_from_running():
    begun, go = threading.Event(), threading.Event()
    limit_s = float(os.environ["TESTS_DEADLINE_S"])

    def hold(_):
        begun.set()
        assert go.wait(limit_s)

    with ThreadPoolExecutor(1) as executor:
        executor.submit(hold, 0)
        second = executor.submit(work, 1)
        assert begun.wait(limit_s)
        before = time.perf_counter()
        while time.perf_counter() < before + 0.05:
            pass
        go.set()
        second.result()


def threads_beneath_who_started_them():
    class Special(threading.Thread):
        def run(self):
            leaf(1)

    def own():
        leaf(2)

    replaced = threading.Thread()
    replaced.run = own
    started = [
        threading.Thread(target=work, args=(1,), kwargs={"y": 2}),
        threading.Thread(target=leaf, args=(3,)),
        threading.Thread(target=shmperf.propagate(leaf), args=(4,)),
        threading.Timer(0.01, work, (5,)),
        threading.Thread(target=None),
        replaced,
        Special(),
    ]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def thread_raises():
    threading.excepthook = lambda raised: print(repr(raised.exc_value))
    thread = threading.Thread(target=fail, args=(1,))
    thread.start()
    thread.join()
    try:
        thread.start()
    except RuntimeError as error:
        print(error, "run" in vars(thread))


def many_at_once():
    with multiprocessing.get_context("fork").Pool(4) as pool:
        assert pool.map(outer, [50] * 8) == [1225] * 8


@shmperf.track
def main():
    globals()[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    main()
