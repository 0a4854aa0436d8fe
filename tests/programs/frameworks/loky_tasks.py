from loky import ProcessPoolExecutor, get_reusable_executor

import shmperf


def square(x):
    return x * x


if __name__ == "__main__":
    with shmperf.call("outer"):
        reused = get_reusable_executor(max_workers=2)
        assert [reused.submit(square, n).result() for n in range(4)] == [0, 1, 4, 9]
        assert list(reused.map(square, range(4), chunksize=2)) == [0, 1, 4, 9]
        reused.shutdown()
        with ProcessPoolExecutor(1) as own:
            assert own.submit(square, 4).result() == 16
