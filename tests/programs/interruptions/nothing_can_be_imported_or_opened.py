"""
First calls where imports raise and no descriptor is left, and exceptions on every way to a tool.

Prints what the calls gave, or the contexts of the exceptions.
"""

import resource
import sys

import shmperf


@shmperf.track
def tool(n):
    return n + 1


@shmperf.track
def falls(n, _=0):
    """Raises below as many open calls as no block of rows holds."""
    if not n:
        raise KeyError(n)
    falls(n - 1)


@shmperf.track
async def awaited(n):
    return n + 1


def contexts(function, *args):
    """The exceptions that its own one was raised in the middle of."""
    try:
        function(*args)
    except KeyError as error:
        return repr(error.__context__)


class Forbidding:
    """An import hook of a sandbox."""

    def find_spec(self, name, path=None, target=None):
        raise PermissionError(f"{name} is not allowed")


track_tool_call = shmperf.track_tool_call

if sys.argv[1] == "sandbox":
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
    sys.meta_path.insert(0, Forbidding())
    print(tool(1), tool(2))
    try:
        awaited(1).send(None)
    except StopIteration as stop:
        print(stop.value)
    with shmperf.call("block"):
        print(track_tool_call("pair", {"n": 1}) or "nothing")
else:
    print(*(contexts(falls, *args) for args in ([0], [0], [0, 2**70], [300])))
