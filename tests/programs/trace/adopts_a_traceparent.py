import threading
from concurrent.futures import ProcessPoolExecutor

import shmperf

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@shmperf.track
def leaf(n):
    return n


@shmperf.track
def middle(n):
    return leaf(n)


@shmperf.track
def top(n):
    return middle(n)


def in_a_thread(n):
    thread = threading.Thread(target=shmperf.propagate(top), args=(n,))
    thread.start()
    thread.join()


if __name__ == "__main__":
    top(0)
    with shmperf.adopt(f"00-{TRACE}-00f067aa0ba902b7-01"):
        top(1)
        in_a_thread(2)
        with shmperf.call("asks"), ProcessPoolExecutor(1) as pool:
            pool.submit(shmperf.propagate(middle), 3).result()
    with shmperf.adopt(f"00-{TRACE}-00f067aa0ba902b7-00"):
        leaf(4)
        with shmperf.adopt(None):
            leaf(5)
    leaf(6)
