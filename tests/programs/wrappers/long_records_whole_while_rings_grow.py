import shmperf


@shmperf.track
def plainly(text):
    pass


@shmperf.track
async def awaited(text):
    pass


def drive(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        pass


# Of every length up to some parts, so that rings of any size are full after any part.
for length in range(0, 1000, 3):
    plainly("é" * length)
    drive(awaited("é" * length))
shmperf.set_optimization_mode(True)
for length in range(0, 3000, 9):
    plainly("é" * length)
assert shmperf.flush()
found = shmperf.get_perf_stats()
assert (found["lost"], found["faults"]) == ({}, {}), found
