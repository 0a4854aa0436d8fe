import asyncio

import shmperf
from shmperf.integrations.observer import Observer
from shmperf.interceptors import intercept_tool_call


@shmperf.track("load")
def load(text, again=True):
    return load(text, False) if again else {}[text]


@shmperf.track("get")
async def get(n):
    return n


class Store:
    @shmperf.track("put")
    def put(self, n):
        return intercept_tool_call("get", get, (n,))


def attempt():
    try:
        intercept_tool_call("load", load, ("key",))
    except KeyError:
        pass


attempt()
asyncio.run(intercept_tool_call("put", Store().put, (1,)))
observer = Observer("framework")
for _ in range(3):
    sight = observer.begin("load", {})
    attempt()
    sight.end()
