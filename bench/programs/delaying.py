"""
A line that is long: connections to a port here go on to a host, and each byte takes a while.

Arguments: port, host and port to go on to, seconds each way. It ends with standard input.
"""

from __future__ import annotations

import asyncio
import sys

_CHUNK = 1 << 16


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """In order, each piece *delay* seconds after it came."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1_000)

    async def hand_on() -> None:
        while True:
            due, piece = await waiting.get()
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(piece)
            await writer.drain()
            if not piece:
                return

    handing = asyncio.create_task(hand_on())
    try:
        while piece := await reader.read(_CHUNK):
            await waiting.put((loop.time() + delay, piece))
        await waiting.put((loop.time() + delay, b""))
        await handing
    except OSError:
        handing.cancel()
    finally:
        writer.close()


async def main(port: int, host: str, to: int, delay: float) -> None:
    """Serve until standard input ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            onward, back = await asyncio.open_connection(host, to)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            _carry(reader, back, delay), _carry(onward, writer, delay), return_exceptions=True
        )

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    async with server:
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
