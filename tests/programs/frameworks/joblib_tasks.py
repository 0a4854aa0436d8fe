import sys

from joblib import Parallel, delayed

import shmperf


def square(n):
    return n * n


def run(backend, workers):
    with shmperf.call("outer"):
        squares = Parallel(n_jobs=workers, backend=backend)(delayed(square)(n) for n in range(8))
    assert squares == [n * n for n in range(8)]


if __name__ == "__main__":
    run(sys.argv[1], int(sys.argv[2]))
