import shmperf


@shmperf.track
def leaf(n):
    return n


@shmperf.track
def top(password="x"):
    for n in range(300):
        leaf(n)


top(password="hidden")
