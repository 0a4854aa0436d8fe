from contextlib import ExitStack

import shmperf


@shmperf.track
def leaf(n):
    return n


with ExitStack() as blocks:
    for number in range(1, 8191 + 10):
        blocks.enter_context(shmperf.adopt(f"00-{number:032x}-{number:016x}-01"))
        if number in (8191, 8192):
            leaf(number)
