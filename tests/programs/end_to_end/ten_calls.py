import shmperf


@shmperf.track
def tool():
    pass


for _ in range(10):
    tool()
