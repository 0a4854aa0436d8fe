"""
Serve with limits that a test can wait for: connections, seconds for a head, and for a piece.

``/endless`` goes on for as long as somebody takes it, anything else is answered with ok.
"""

import asyncio
import sys

from shmperf.views.web.serving import Limits, listen, serve

PIECE = b"x" * 65536


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while scope["path"] == "/endless":
        await send({"type": "http.response.body", "body": PIECE, "more_body": True})
    await send({"type": "http.response.body", "body": b"ok"})


connections, head_s, taken_s = sys.argv[1:]
limits = Limits(int(connections), float(head_s), float(taken_s))
with listen("127.0.0.1", 0, or_next=False) as listener:
    port = listener.getsockname()[1]
    asyncio.run(serve(app, listener, lambda: None, lambda: print(port, flush=True), limits))
