"""Half of its calls are made when the collector is there, the others when it has been killed."""

import os
import signal

import shmperf
from shmperf.session.client import Client
from shmperf.session.messages import Ping
from shmperf.worker.process import worker


@shmperf.track
def tool(number: int) -> int:
    return number


for number in range(300):
    tool(number)
assert worker.session is not None
client = Client(worker.session.directory)
os.kill(client.ask(Ping(), float(os.environ["TESTS_DEADLINE_S"])), signal.SIGKILL)
for number in range(300):
    tool(number)
