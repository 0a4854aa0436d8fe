"""A WSGI application with a call a request; it counts how often it is loaded."""

import os

import shmperf

with open("runs", "a") as runs:  # noqa: PTH123  as short as such files are
    runs.write("run\n")


@shmperf.track
def tool(n):
    return n


def application(environ, start_response):
    tool(1)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {shmperf.flush()}".encode()]
