import asyncio
import json
import logging
import os
import sys

from mcp.client.client import Client
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.server.mcpserver import MCPServer

import shmperf

# The SDK logs what its tools raise.
logging.getLogger("mcp").setLevel(logging.CRITICAL)


def serve():
    server = MCPServer("weather")

    @shmperf.track
    def locate(city):
        return city.lower()

    @server.tool()
    @shmperf.track
    def forecast(city: str) -> str:
        return "rain in " + locate(city)

    @server.tool()
    async def broken(city: str) -> str:
        raise ValueError("no such city")

    @server.tool()
    async def endless(city: str) -> str:
        await asyncio.Event().wait()

    return server


async def main(server):
    async with Client(server) as client:
        async with shmperf.call("agent"):
            for city in "AB":
                result = await client.call_tool("forecast", {"city": city})
                assert result.content[0].text == "rain in " + city.lower()
            assert (await client.call_tool("broken", {"city": "C"})).is_error


def client_server_one_process_one_call() -> None:
    shmperf.instrument("mcp")
    asyncio.run(main(serve()))


def uninstrument_restores_classes_servers() -> None:
    from mcp.server.lowlevel.server import Server

    old, before = serve(), (vars(Server)["__init__"], vars(ClientSession)["call_tool"])
    chain = list(old.middleware)
    shmperf.instrument("mcp")
    assert len(old.middleware) == len(chain) + 1
    new = serve()
    shmperf.uninstrument()
    assert (vars(Server)["__init__"], vars(ClientSession)["call_tool"]) == before
    assert old.middleware == chain and len(new.middleware) == len(chain)
    asyncio.run(main(serve()))


def middleware_by_hand_sees_server() -> None:
    from shmperf.integrations.mcp import middleware

    made = serve()
    made.middleware.append(middleware())
    asyncio.run(main(made))


TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def ask_from_elsewhere(server):
    async with Client(server) as client:
        for city, meta in (("A", {"traceparent": TRACE}), ("B", {"traceparent": 5}), ("C", None)):
            await client.call_tool("forecast", {"city": city}, meta=meta)


def server_in_trace_of_its_client() -> None:
    from shmperf.integrations.mcp import middleware

    made = serve()
    made.middleware.append(middleware())
    asyncio.run(ask_from_elsewhere(made))


def server_tells_trace() -> None:
    server = MCPServer("elsewhere")

    async def heard(context, call_next):
        if context.method == "tools/call":
            print(json.dumps(context.params["_meta"]), flush=True)
        return await call_next(context)

    @server.tool()
    def forecast(city: str) -> str:
        return city

    server.middleware.append(heard)
    shmperf.instrument("mcp")

    async def ask():
        async with Client(server) as client:
            async with shmperf.call("agent"):
                await client.call_tool("forecast", {"city": "A"}, meta={"mine": 1})
                await client.call_tool("forecast", {"city": "B"}, meta={"traceparent": TRACE})

    asyncio.run(ask())


def serve_streams() -> None:
    if os.environ.get("SERVER_TRACKS"):
        shmperf.instrument("mcp")
    serve().run()


async def use_streams():
    command = StdioServerParameters(
        command=sys.executable, args=[__file__, "serve_streams"], env=dict(os.environ)
    )
    async with stdio_client(command) as streams, ClientSession(*streams) as session:
        await session.initialize()
        async with shmperf.call("agent"):
            await session.call_tool("forecast", {"city": "A"})
            await session.call_tool("broken", {"city": "B"})
            try:
                await session.call_tool("endless", {"city": "C"}, read_timeout_seconds=0.05)
            except Exception as error:  # noqa: BLE001  the SDK says which
                print(type(error).__name__)


def client_server_two_processes() -> None:
    shmperf.instrument("mcp")
    asyncio.run(use_streams())


def version_without_middleware_named() -> None:
    from mcp.server import context

    from shmperf.errors import IntegrationError
    from shmperf.integrations.mcp import middleware

    del context.ServerMiddleware
    try:
        middleware()
    except IntegrationError as error:
        print(error)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
