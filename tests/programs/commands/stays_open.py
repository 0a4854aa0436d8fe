import sys

import shmperf

with shmperf.call("waiting", secret="x"):
    with shmperf.call("done"):
        pass
    print("open", flush=True)
    sys.stdin.read()
