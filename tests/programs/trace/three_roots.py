from shmperf import track


@track
def inner(n):
    return n


@track
def outer(n):
    return inner(n)


for n in range(3):
    outer(n)
