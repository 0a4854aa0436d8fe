"""Take lines from the outbox and write them where another system would have them, for ever."""

import os
import sys
import time
from pathlib import Path

from shmperf.storage.consumer import Consumer

storage, received, pause_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
consumer = Consumer(storage, "system")
consumer.register()
print("registered", flush=True)
fd = os.open(received, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
# Killed in the middle of a write, the one before may have left a part of a line.
os.truncate(fd, Path(received).read_bytes().rfind(b"\n") + 1)
while True:
    taken = consumer.read(50)
    time.sleep(pause_s)
    if taken is None:
        continue
    numbered = enumerate(taken.lines, taken.number)
    os.write(fd, b"".join(b"%d %s\n" % (number, line) for number, line in numbered))
    consumer.acknowledge(taken)
