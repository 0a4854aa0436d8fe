import multiprocessing
import sys

from calls import call

from shmperf.optimized_perf_tracker import OptimizedPerfTracker, get_perf_stats


def work(count):
    call("work", count)
    return get_perf_stats("work")["count"] >= count


if __name__ == "__main__":
    if sys.argv[1] == "own":
        OptimizedPerfTracker()
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2) as pool:
            assert all(pool.map(work, [10, 20, 30, 40], chunksize=1))
    found = get_perf_stats("work")
    assert found["count"] == 300, found
