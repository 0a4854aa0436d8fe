"""As many tools as are asked for, one call each, in so many processes; then it ends, or waits."""

import multiprocessing
import sys

import shmperf


def work(first, last):
    for n in range(first, last):
        with shmperf.call(f"job {n}", n=n):
            pass


if __name__ == "__main__":
    tools, processes = int(sys.argv[1]), int(sys.argv[2])
    share = tools // processes
    work(0, share)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=work, args=(number * share, number * share + share))
        for number in range(1, processes)
    ]
    for other in others:
        other.start()
    for other in others:
        other.join()
    if sys.argv[3:]:
        input()
