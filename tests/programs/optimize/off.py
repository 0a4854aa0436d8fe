import json

import shmperf

print(json.dumps(shmperf.optimize(seconds=5)))
