import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor


def leaf(x):
    return x


def work(x):
    return asyncio.run(asyncio.to_thread(leaf, x))


if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(work, [1, 2, 3]) == [1, 2, 3]
    with ProcessPoolExecutor(1) as executor:
        assert list(executor.map(work, [1, 2])) == [1, 2]
