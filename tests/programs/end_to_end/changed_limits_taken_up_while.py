from shmperf import track


@track
def tool():
    pass


for line in iter(input, "end"):
    for _ in range(5):
        tool()
    print("done", flush=True)
