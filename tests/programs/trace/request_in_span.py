"""A request in a recorded span of its server, with a header that names another one."""

import asyncio
from wsgiref.util import setup_testing_defaults

from opentelemetry.sdk.trace import TracerProvider

from shmperf.integrations import asgi, wsgi

HEADER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def answers(scope, receive, send):
    pass


def answers_wsgi(environ, start_response):
    return []


def serve():
    headers = [(b"traceparent", HEADER.encode())]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    asyncio.run(asgi.TrackRequests(answers)(scope, None, None))
    environ = {"HTTP_TRACEPARENT": HEADER}
    setup_testing_defaults(environ)
    wsgi.TrackRequests(answers_wsgi)(environ, None)


serve()
with TracerProvider().get_tracer("a server's").start_as_current_span("GET /") as span:
    serve()
    found = span.get_span_context()
print(f"{found.trace_id:032x}-{found.span_id:016x}")
