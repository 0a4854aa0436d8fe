"""
Listening for the page, and what one connection may take: uvicorn, with limits of our own.

    connections      so many; beyond, one that is idle goes for the one that comes
    a request        its head within seconds, and of bounded size; its body: see the application
    an answer        taken on within half a minute, piece by piece, or the connection is cut

uvicorn has limits for tasks and idle connections, none for a head that comes byte by byte nor for
an answer that nobody takes: both would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
import errno
import math
import signal
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from struct import Struct
from typing import Any, NamedTuple

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

from shmperf.errors import StoreError
from shmperf.files import translated

from .guarding import App, Message, Receive, Scope, Send

__all__ = ["Limits", "listen", "serve"]

# A tool's name in an address may be 10,000 characters, each of twelve bytes there.
_MOST_HEAD_BYTES = 160 << 10
_LEAVING_S = 1
_TRIES = 20
_NO_LINGERING = Struct("ii").pack(1, 0)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Limits(NamedTuple):
    """How many connections there are, how long a head may take, and how long a piece lies there."""

    connections: int = 128
    head_s: float = 10.0
    taken_s: float = 30.0


_LIMITS = Limits()


def listen(host: str, port: int, *, or_next: bool) -> socket.socket:
    """
    A socket that listens at *port*, where it is taken and *or_next* at one of the next twenty.

    StoreError where none can be had.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise translated(error, f"{host}:{port}", StoreError) from None
    family, _, _, _, address = found[0]
    for tried in range(port, port + (_TRIES if or_next else 1)):
        try:
            return _bound(family, (address[0], tried, *address[2:]))
        except OSError as error:
            if error.errno != errno.EADDRINUSE or tried == port + _TRIES - 1 or not or_next:
                raise translated(error, f"{host}:{tried}", StoreError) from None
    raise StoreError(f"{host}:{port}: no port is free")


def _bound(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


async def serve(
    app: App,
    listener: socket.socket,
    end: Callable[[], None],
    ready: Callable[[], None],
    limits: Limits = _LIMITS,
) -> None:
    """Serve *app* until a signal comes; *ready* once it answers, *end* before it stops."""
    config = Config(
        _taken_on(app, limits.taken_s),
        # It is called for each connection, as a class would be.
        http=partial(_Connection, limits),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=math.ceil(limits.head_s),
        timeout_graceful_shutdown=_LEAVING_S,
        h11_max_incomplete_event_size=_MOST_HEAD_BYTES,
    )
    server = _Server(config)
    loop = asyncio.get_running_loop()

    def leave() -> None:
        server.force_exit = server.should_exit
        server.should_exit = True
        end()

    for number in _SIGNALS:
        loop.add_signal_handler(number, leave)
    ready()
    await server.serve(sockets=[listener])


class _Server(Server):
    """Leaves signals to who runs it: its own would end the process by them."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


class _Connection(H11Protocol):
    """One connection; ``state`` of a request has ``abort``, which cuts it off."""

    def __init__(self, limits: Limits, app_state: dict[str, Any], **others: Any) -> None:
        super().__init__(app_state={**app_state, "abort": self._abort}, **others)
        self._limits = limits
        self._asking_since = 0.0
        self._check: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """One more, for which another one may have to go."""
        # One that was cut off is among them until the loop comes round.
        others = [one for one in self.connections if not one.transport.is_closing()]
        if len(others) >= self._limits.connections and not _drop_idle(others):
            transport.abort()
        super().connection_made(transport)
        self._asking_since = self.loop.time()
        self._look_again()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        if self._check is not None:
            self._check.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """From here on a head may come again."""
        self._asking_since = self.loop.time()
        super().on_response_complete()

    @property
    def idle_since(self) -> float | None:
        """Since when it has not asked anything whole; None while it is being answered."""
        is_answered = self.cycle is not None and not self.cycle.response_complete
        return None if is_answered else self._asking_since

    def _look_again(self) -> None:
        self._check = self.loop.call_later(self._limits.head_s, self._end_idle)

    def _end_idle(self) -> None:
        since, now = self.idle_since, self.loop.time()
        if self.transport.is_closing() or (
            since is not None and since + self._limits.head_s <= now
        ):
            self._abort()
        else:
            self._look_again()

    def _abort(self) -> None:
        # The system, too, would go on offering what nobody takes.
        held = self.transport.get_extra_info("socket")
        with suppress(OSError):
            held.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.transport.abort()


def _drop_idle(connections: Iterable[Any]) -> bool:
    """End the connection that has been idle for longest; False where all are being answered."""
    idle = [one for one in connections if one.idle_since is not None]
    if not idle:
        return False
    min(idle, key=lambda one: one.idle_since).transport.abort()
    return True


def _taken_on(app: App, longest_s: float) -> App:
    """*app*, whose answers are cut off where nobody takes them."""

    async def bounded(scope: Scope, receive: Receive, send: Send) -> None:
        async def sent(message: Message) -> None:
            try:
                async with asyncio.timeout(longest_s):
                    await send(message)
            except TimeoutError:
                scope["state"]["abort"]()
                raise

        await app(scope, receive, sent)

    return bounded
