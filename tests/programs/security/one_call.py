import shmperf


@shmperf.track
def tool(n):
    return n + 1


print(tool(1), shmperf.get_tracker().mode)
