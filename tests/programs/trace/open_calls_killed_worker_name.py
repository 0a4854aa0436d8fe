import sys

from shmperf import track


@track
def inner():
    print("there", flush=True)
    sys.stdin.read()


@track
def outer():
    inner()


outer()
