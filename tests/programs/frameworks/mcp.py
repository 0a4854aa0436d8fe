import asyncio
import logging
import sys

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


from mcp.client.client import Client


async def main():
    async with Client(serve()) as client:
        async with shmperf.call("agent"):
            for city in "AB":
                result = await client.call_tool("forecast", {"city": city})
                assert result.content[0].text == "rain in " + city.lower()
            assert (await client.call_tool("broken", {"city": "C"})).is_error


def client_server_one_process_one_call() -> None:
    shmperf.instrument("mcp")
    asyncio.run(main())


def uninstrument_restores_classes_servers() -> None:
    from mcp.client.session import ClientSession
    from mcp.server.lowlevel.server import Server

    old, before = serve(), (vars(Server)["__init__"], vars(ClientSession)["call_tool"])
    chain = list(old.middleware)
    shmperf.instrument("mcp")
    assert len(old.middleware) == len(chain) + 1
    new = serve()
    shmperf.uninstrument()
    assert (vars(Server)["__init__"], vars(ClientSession)["call_tool"]) == before
    assert old.middleware == chain and len(new.middleware) == len(chain)
    asyncio.run(main())


if __name__ == "__main__":
    globals()[sys.argv[1]]()
