from shmperf import track


@track
def few(n):
    pass


for n in range(1000):
    few(n)
