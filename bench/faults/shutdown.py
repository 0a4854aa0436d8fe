"""A program that ends while daemon threads are in the middle of calls."""

import sys
import threading
import time

import shmperf


@shmperf.track
def tool(n: int) -> int:
    return n


def work() -> None:
    while True:
        tool(1)


class Last:
    """Calls a tool when the interpreter clears its modules."""

    def __del__(self) -> None:
        tool(2)


if __name__ == "__main__":
    last = Last()
    for _ in range(3):
        threading.Thread(target=work, daemon=True).start()
    assert tool(3) == 3
    time.sleep(float(sys.argv[1]))
    sys.exit(int(sys.argv[2]))
