import shmperf


@shmperf.track
def tool():
    pass


tool()
shmperf.flush()
print("ready", flush=True)
input()
