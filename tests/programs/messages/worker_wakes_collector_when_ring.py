import os

import shmperf
from shmperf.worker.process import worker


@shmperf.track
def tool():
    pass


tool()
bell = worker.session.directory / "bell"
os.mkfifo(bell)
fd = os.open(bell, os.O_RDWR | os.O_NONBLOCK)
for _ in range(15):
    tool()
try:
    assert not os.read(fd, 1)
except BlockingIOError:
    pass
tool()
assert os.read(fd, 1) == b"!"
