import shmperf
from shmperf import call

again = call("again")
with again:
    with again:
        with call("inner"):
            pass
    assert again.id == shmperf.current()
assert shmperf.current() is None
with again:
    pass
