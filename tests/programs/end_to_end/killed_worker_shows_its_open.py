from shmperf import call, track


@track
def done():
    pass


@track
def outer():
    inner()


@track
def inner():
    with call("block"):
        print("ready", flush=True)
        input()


for _ in range(1000):
    done()
outer()
