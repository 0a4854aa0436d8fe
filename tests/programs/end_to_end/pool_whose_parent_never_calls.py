import multiprocessing as mp

from shmperf import get_tracker, track


@track
def task(x):
    return get_tracker().session


if __name__ == "__main__":
    with mp.get_context("fork").Pool(8) as pool:
        assert len(set(pool.map(task, range(64), chunksize=1))) == 1
