from shmperf import track


@track
def leaf(n):
    return n


@track
def middle(n):
    return [leaf(n), leaf(n)]


@track
def top(n):
    return middle(n)


for n in range(20):
    top(n)
leaf(0)
