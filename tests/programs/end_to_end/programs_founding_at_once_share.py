from shmperf import get_tracker, track


@track
def task():
    pass


input()
for _ in range(100):
    task()
print(get_tracker().session, flush=True)
input()
