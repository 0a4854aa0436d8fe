import sys

import shmperf


@shmperf.track
def fetch(name):
    return name


@shmperf.track
def search(number):
    if number % 10 == 0:
        raise KeyError("none")
    return fetch(f"secret-{number}")


for number in range(int(sys.argv[1])):
    try:
        search(number)
    except KeyError:
        pass
