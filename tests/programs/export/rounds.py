import sys

import shmperf


@shmperf.track
def fetch(name):
    return name


@shmperf.track
def search(number):
    return fetch(f"hidden-{number}")


print("ready", flush=True)
for line in sys.stdin:
    for number in range(int(line)):
        search(number)
    print("done", flush=True)
