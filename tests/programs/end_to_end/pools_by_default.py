import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor

from shmperf import get_tracker, track


@track
def leaf(x):
    return get_tracker().session


@track
def task(x):
    return leaf(x)


if __name__ == "__main__":
    expected = "forkserver" if sys.version_info >= (3, 14) else "fork"
    assert multiprocessing.get_start_method() == expected
    session = task(0)
    with multiprocessing.Pool(2) as pool:
        assert set(pool.map(task, range(40))) == {session}
    with ProcessPoolExecutor(2) as executor:
        assert set(executor.map(task, range(40))) == {session}
    process = multiprocessing.Process(target=task, args=(0,))
    process.start()
    process.join()
