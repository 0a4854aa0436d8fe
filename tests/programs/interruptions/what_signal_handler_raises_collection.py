import gc
import signal

import shmperf

handled = raised = 0


class Alarm(Exception):
    pass


def handler(*_):
    global handled
    handled += 1
    raise Alarm


tool = shmperf.track("tool")(lambda: None)
tool()
held = [[] for _ in range(20_000)]
signal.signal(signal.SIGALRM, handler)
for turn in range(200):
    before = handled
    try:
        # Once a turn: a second one could come where nobody expects it any more.
        signal.setitimer(signal.ITIMER_REAL, 1e-4 + turn % 97 * 1e-5)
        while handled == before:
            gc.collect()
    except Alarm:
        raised += 1
assert handled == raised == 200, (handled, raised)
