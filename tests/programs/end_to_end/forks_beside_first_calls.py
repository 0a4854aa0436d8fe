"""Forks, one after the other, while another thread makes the first call; each child calls, too."""

import os
import threading

from shmperf import track


@track
def tool(n: int) -> int:
    return n


begun = threading.Barrier(2)


def first() -> None:
    begun.wait()
    tool(1)


thread = threading.Thread(target=first)
thread.start()
begun.wait()
children = []
while thread.is_alive() or not children:
    pid = os.fork()
    if not pid:
        os._exit(0 if tool(2) == 2 else 1)
    children.append(pid)
thread.join()
codes = {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children}
assert codes == {0}, codes
print(len(children) + 1)
