import shmperf


@shmperf.track
def leaf(n):
    if n == 3:
        raise ValueError("three")


@shmperf.track
def top(password="x"):
    for n in range(5):
        try:
            leaf(n)
        except ValueError:
            pass


with shmperf.call("evil\x1b[31m\n"):
    top(password="hidden")
