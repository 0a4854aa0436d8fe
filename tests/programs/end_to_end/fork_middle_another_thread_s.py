import os
import signal
import threading

from shmperf import track
from shmperf.session.files import is_locked
from shmperf.session.presence import HERE
from shmperf.worker.process import Segment, worker

limit_s = float(os.environ["TESTS_DEADLINE_S"])
entered, forked = threading.Event(), threading.Event()
made = Segment.__init__


def slowly(*args, **kwargs):
    entered.set()
    assert forked.wait(limit_s)
    made(*args, **kwargs)


Segment.__init__ = slowly


@track
def tool():
    pass


thread = threading.Thread(target=tool)
thread.start()
assert entered.wait(limit_s)
ready, told = os.pipe()
pid = os.fork()
if not pid:
    signal.alarm(int(limit_s))
    Segment.__init__ = made
    tool()
    os.write(told, b"1" if worker.segment else b"0")
    signal.pause()
assert os.read(ready, 1) == b"1"
forked.set()
thread.join()
directory = worker.session.directory
here = directory / f"{HERE}{worker.segment.name}"
assert is_locked(here)
worker.session.membership.presence.close()
assert not is_locked(here)
os.kill(pid, signal.SIGKILL)
os.waitpid(pid, 0)
