import multiprocessing

import shmperf


@shmperf.track
def inner(n):
    return n


def job(n):
    return inner(n)


if __name__ == "__main__":
    shmperf.instrument("multiprocessing")
    with shmperf.call("outermost"), shmperf.call("hand_over"):
        with multiprocessing.get_context("fork").Pool(2) as pool:
            assert sorted(pool.map(job, range(8))) == list(range(8))
