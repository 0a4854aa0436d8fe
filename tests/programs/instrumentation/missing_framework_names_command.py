import importlib.util

import shmperf
from shmperf.errors import IntegrationError

find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == "celery" else find_spec(name)
try:
    shmperf.instrument("celery")
except IntegrationError as error:
    print(error)
