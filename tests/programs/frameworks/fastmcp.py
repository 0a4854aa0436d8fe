import asyncio
import logging
import sys

from fastmcp import Client, FastMCP
from fastmcp.exceptions import ToolError

import shmperf

# FastMCP logs what its tools raise.
logging.getLogger("fastmcp").setLevel(logging.CRITICAL)
logging.getLogger("mcp").setLevel(logging.CRITICAL)


def serve():
    server = FastMCP("weather")

    @shmperf.track
    def locate(city):
        return city.lower()

    @server.tool
    @shmperf.track
    def forecast(city: str) -> str:
        return "rain in " + locate(city)

    @server.tool
    def broken(city: str) -> str:
        raise ValueError("no such city")

    @server.tool
    async def late(city: str) -> str:
        raise TimeoutError

    return server


async def use(server):
    async with Client(server) as client:
        async with shmperf.call("agent"):
            for city in "AB":
                result = await client.call_tool("forecast", {"city": city})
                assert result.data == "rain in " + city.lower()
            for tool in ("broken", "late"):
                try:
                    await client.call_tool(tool, {"city": "C"})
                except ToolError:
                    pass


async def ask_from_elsewhere(server):
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    async with Client(server) as client:
        for city, meta in (("A", {"traceparent": trace}), ("B", {"traceparent": "-"}), ("C", None)):
            await client.call_tool("forecast", {"city": city}, meta=meta)


def server_in_trace_of_its_client() -> None:
    shmperf.instrument("fastmcp")
    asyncio.run(ask_from_elsewhere(serve()))


def middleware_by_hand_counts_once_beside() -> None:
    from shmperf.integrations.fastmcp import middleware

    server = serve()
    server.add_middleware(middleware())
    shmperf.instrument("fastmcp")
    asyncio.run(use(server))


def tools_called_program_by_tools() -> None:
    shmperf.instrument("fastmcp")
    server = serve()

    @server.tool
    async def plan(city: str) -> str:
        return (await server.call_tool("forecast", {"city": city})).content[0].text

    asyncio.run(server.call_tool("plan", {"city": "A"}))


def mounted_servers_tool_one_call() -> None:
    shmperf.instrument("fastmcp")
    main = FastMCP("main")
    main.mount(serve(), namespace="sub")

    async def use():
        async with Client(main) as client:
            await client.call_tool("sub_forecast", {"city": "A"})

    asyncio.run(use())


def uninstrument_restores_class_servers() -> None:
    old, before = serve(), vars(FastMCP)["__init__"]
    chain = list(old.middleware)
    shmperf.instrument("fastmcp")
    new = serve()
    assert len(new.middleware) == len(old.middleware) == len(chain) + 1
    shmperf.uninstrument("fastmcp")
    assert vars(FastMCP)["__init__"] is before
    assert old.middleware == chain and len(new.middleware) == len(chain)
    asyncio.run(use(old))


def servers_tools_counted_once() -> None:
    shmperf.instrument(*sys.argv[2:])
    asyncio.run(use(serve()))


if __name__ == "__main__":
    globals()[sys.argv[1]]()
