import json

import shmperf

NAMES = ['a "b"', "it's; DROP TABLE calls", "line\nend", "nul\0", "=cmd()", "<b>&", "x" * 200]

for name in NAMES:

    @shmperf.track(name)
    def tool(text):
        return text

    tool(name)

shmperf.flush()
print(json.dumps(NAMES))
