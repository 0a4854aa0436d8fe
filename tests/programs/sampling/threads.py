"""Many threads in one sampled tool, switched often; prints how many calls there were."""

import sys
import threading

from shmperf import track

sys.setswitchinterval(1e-6)


@track
def leaf(n):
    return n


@track
def tool(n):
    return leaf(n)


def work():
    for n in range(4_000):
        tool(n)


threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(6 * 4_000)
