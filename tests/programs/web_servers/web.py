"""A web application, as WSGI and as ASGI, with a tool."""

import os
import signal

import shmperf
from shmperf.integrations import asgi, wsgi


@shmperf.track
def search(path):
    if path == "/die":
        os.kill(os.getpid(), signal.SIGKILL)
    return path.upper()


def answers_wsgi(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {search(environ['PATH_INFO'])}".encode()]


async def answers_asgi(scope, receive, send):
    if scope["type"] != "http":
        return
    text = f"{os.getpid()} {search(scope['path'])}".encode()
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": text})


search("before any fork")
wsgi, asgi = wsgi.TrackRequests(answers_wsgi), asgi.TrackRequests(answers_asgi)
