"""Applications with routes, as Starlette's and Flask's, and plain ones; each tells its trace."""

import os

from flask import Flask, Response
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

import shmperf
from shmperf.integrations import asgi, wsgi


@shmperf.track
def search(user):
    return f"{user} {shmperf.traceparent()}\n"


async def user(request):
    return PlainTextResponse(search(request.path_params["user"]))


async def streamed(_):
    async def pieces():
        for number in range(3):
            yield search(number)

    return StreamingResponse(pieces())


async def refuses(_):
    return PlainTextResponse("later", status_code=503)


async def fails(_):
    raise ValueError("no such user")


starlette = Starlette(
    routes=[
        Route("/users/{user}", user, methods=["GET", "POST"]),
        Route("/streamed", streamed),
        Route("/refuses", refuses),
        Route("/fails", fails),
    ],
    middleware=[Middleware(asgi.TrackRequests)],
)

flask = Flask(__name__)
flask.wsgi_app = wsgi.TrackRequests(flask.wsgi_app, name=wsgi.flask_route(flask))


@flask.route("/users/<user>", methods=["GET", "POST"])
def flask_user(user):
    return search(user)


@flask.route("/streamed")
def flask_streamed():
    return Response(search(number) for number in range(3))


@flask.route("/refuses")
def flask_refuses():
    return "later", 503


@flask.route("/fails")
def flask_fails():
    raise ValueError("no such user")


if __name__ == "__main__":
    # WSGI's reference server, one request after the other, on the port that the system gives.
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *_):
            """Nobody reads it."""

    flask.logger.disabled = True
    with make_server("127.0.0.1", 0, flask, handler_class=Quiet) as server:
        print(server.server_port, flush=True)
        for _ in range(int(os.environ["REQUESTS"])):
            server.handle_request()
