import os

from shmperf import call, track


@track
def leaf():
    pass


@track
def forks():
    leaf()
    pid = os.fork()
    leaf()
    return pid


with call("outside"):
    pid = forks()
leaf()
if pid:
    os.waitpid(pid, 0)
else:
    os._exit(0)
