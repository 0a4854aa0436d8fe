import shmperf


@shmperf.track
def tool():
    pass


tool()
print("ready", flush=True)
input()
