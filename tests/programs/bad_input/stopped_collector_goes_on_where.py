import shmperf


@shmperf.track
def tool(n):
    pass


tool(0)
shmperf.flush()
print("ready", flush=True)
input()
for n in range(2000):
    tool(n)
print("done", flush=True)
input()
