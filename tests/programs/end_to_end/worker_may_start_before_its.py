from shmperf import track


@track
def early(x):
    pass


for x in range(10):
    early(x)
print("ready", flush=True)
input()
