"""One call with 1,000 calls inside it, and one with 1,001."""

import shmperf

for many in (1_000, 1_001):
    with shmperf.call("outer"):
        for n in range(many):
            with shmperf.call("inner", n=n):
                pass
