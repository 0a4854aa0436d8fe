import threading

import shmperf

first = shmperf.track_tool_call("pair", {"a": 1})
assert len(first) == 16 and int(first, 16)
thread = threading.Thread(target=shmperf.end_tool_call, args=(first, ValueError("x")))
thread.start()
thread.join()
shmperf.set_optimization_mode(True)
second = shmperf.track_tool_call("pair", {"b": [2]})
shmperf.annotate(during=1)
shmperf.end_tool_call(second, "Refused: by hand", {"after": 2})
assert shmperf.get_tracker().faults == {}
