import json
import os
import time
import uuid
from pathlib import Path

from celery import Celery
from celery.backends.filesystem import FilesystemBackend
from celery.exceptions import SoftTimeLimitExceeded
from kombu.transport.filesystem import Channel

import shmperf


# Both write their files in place, and others read them half written: here they appear whole.
def put_whole(path, data):
    path = Path(os.fsdecode(path))
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def put(self, queue, payload, **kwargs):
    name = f"{time.monotonic_ns()}_{uuid.uuid4()}.{queue}.msg"
    put_whole(Path(self.data_folder_out, name), json.dumps(payload).encode())


def set_result(self, key, value):
    put_whole(self._filename(key), value if isinstance(value, bytes) else value.encode())


Channel._put = put
FilesystemBackend.set = set_result

Path("queue").mkdir(exist_ok=True)
Path("results").mkdir(exist_ok=True)
app = Celery("tasks", broker="filesystem://", backend="file://results")
app.conf.broker_transport_options = {
    "data_folder_in": "queue",
    "data_folder_out": "queue",
    "control_folder": "queue",
}
app.conf.worker_hijack_root_logger = False
shmperf.instrument("celery")


@shmperf.track
def locate(city):
    return city.lower()


@app.task
@shmperf.track
def forecast(city, days=1):
    return "rain in " + locate(city)


@app.task
def plan(city):
    return forecast.delay(city).id


@app.task
def broken(city):
    raise ValueError("no such city")


@app.task
def late(city):
    raise SoftTimeLimitExceeded


@app.task(bind=True, max_retries=1)
def unsure(self, city):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return city


@app.task(bind=True)
def tells(self):
    return self.request.get("traceparent")
