import shmperf


@shmperf.track
def tool(n):
    return n


for n in range(50):
    tool(n)
shmperf.flush()
print("ready", flush=True)
input()
