"""
A connection to NATS that is made again for ever, in a thread of its own, behind plain calls.

    any thread ──► call(coroutine, seconds) ──► the loop ──► one server of those that were named
                                                  └ lost: the next one, after a pause

A call while there is no connection waits for the first try; after that it is told at once what is
wrong, so that nobody hangs on a broker that is away. Wrong credentials are tried again seldom.

nats-py's own way of coming back is not used: it keeps what was published meanwhile and sends it
later, when its caller has long given up and begun anew; it ends for good after some refusals; and
to a server that offers no TLS it would send a password in the clear, whatever the URL says.
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from nats import errors
from nats.aio.client import Client

from shmperf.errors import ShmperfError
from shmperf.files import reason_of, words_of

from .access import Access, Server, tls_context
from .engine import Away, EngineError, Refused

__all__ = ["Link", "shortened"]

_CONNECT_S, _PING_S, _MARGIN_S, _CLOSE_S = 4, 5, 2.0, 3.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _REFUSED_PAUSE_S = 0.25, 5.0, 30.0
_MOST_TEXT = 200
# What a server says when it is about who we are.
_WHO = ("authorization", "authentication", "credentials", "user jwt", "nkey", "account")
# A user's name that can be a part of a subject.
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_T = TypeVar("_T")


class _Client(Client):
    """Says nothing of who we are to a server without TLS where TLS was asked for."""

    must_be_tls = False

    def _connect_command(self) -> bytes:
        if self.must_be_tls and not self._server_info.get("tls_required"):
            raise errors.Error("nats: it offers no TLS, and tls:// asks for it")
        command: bytes = super()._connect_command()
        return command


class Link:
    """Keeps a connection; `call` is for any thread, what it runs for the loop's."""

    def __init__(self, access: Access, name: str) -> None:
        """*name* is what the servers' own lists show."""
        self._access = access
        self._name = name
        self._problem: EngineError | None = None
        # What a server said on its own account: a permission that is missing.
        self.complaint = ""
        self._client: _Client | None = None
        self._is_closing = False
        self._connected = asyncio.Event()
        self._tried = asyncio.Event()
        self._lost = asyncio.Event()
        self._hurry = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="shmperf-nats", daemon=True)
        self._thread.start()

    @property
    def shown(self) -> str:
        """Where it leads, as it may be told."""
        return self._access.shown

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin *work* on the loop, behind what was submitted before."""
        if self._is_closing:
            work.close()
            raise Away(f"{self.shown}: closed")
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, work: Coroutine[Any, Any, _T], most_s: float) -> _T:
        """What *work* gives; Away when it takes longer than *most_s*."""
        future = self.submit(work)
        try:
            return future.result(most_s + _MARGIN_S)
        except TimeoutError:
            future.cancel()
            raise Away(f"{self.shown}: no answer in time") from None

    async def client(self, most_s: float) -> Client:
        """The connection; Away or Refused at once when it is known that there is none."""
        if not self._connected.is_set():
            # Whoever asks wants to know now, not after a pause.
            self._hurry.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._tried.wait(), most_s)
        client = self._client
        if client is None or not client.is_connected:
            raise self._problem or Away(f"{self.shown}: not connected")
        return client

    def close(self) -> None:
        """End the connection and the thread."""
        if self._is_closing:
            return
        self._is_closing = True
        self._loop.call_soon_threadsafe(self._wake)
        self._thread.join(_CLOSE_S + _MARGIN_S)

    def _wake(self) -> None:
        self._lost.set()
        self._hurry.set()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._keep())
            self._loop.run_until_complete(self._drain())
        finally:
            self._loop.close()

    async def _drain(self) -> None:
        """End what still runs: callers get a CancelledError's kin at once, not a timeout."""
        others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
        for one in others:
            one.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _keep(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._is_closing:
            if await self._connect():
                pause_s = _FIRST_PAUSE_S
                await self._until_lost()
                continue
            self._tried.set()
            is_refused = isinstance(self._problem, Refused)
            wait_s = _REFUSED_PAUSE_S if is_refused else pause_s * (0.5 + random.random())  # noqa: S311  no secret
            await self._pause(wait_s, can_hurry=not is_refused)
            pause_s = min(_LONGEST_PAUSE_S, 2 * pause_s)

    async def _pause(self, wait_s: float, *, can_hurry: bool) -> None:
        self._hurry.clear()
        begun_s = self._loop.time()
        while not self._is_closing and (left_s := begun_s + wait_s - self._loop.time()) > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._hurry.wait(), left_s)
            self._hurry.clear()
            if can_hurry and self._loop.time() - begun_s >= _FIRST_PAUSE_S:
                break

    async def _connect(self) -> bool:
        servers = list(self._access.servers)
        random.shuffle(servers)
        for server in servers:
            if self._is_closing:
                return False
            self._lost.clear()
            client, said = _Client(), list[Exception]()
            client.must_be_tls = server.must_be_tls or bool(self._access.ca)
            try:
                await asyncio.wait_for(self._open(client, server, said), _CONNECT_S)
            except (OSError, TimeoutError, errors.Error, ShmperfError, ImportError) as error:
                self._problem = self._told(said[-1] if said else error)
                await _shut(client)
            except Exception as error:  # noqa: BLE001  nats-py's parser, on whatever answers there
                self._problem = self._unknown(error)
                await _shut(client)
            else:
                self._client, self._problem, self.complaint = client, None, ""
                self._connected.set()
                self._tried.set()
                return True
        return False

    async def _open(self, client: _Client, server: Server, said: list[Exception]) -> None:
        async def heard(error: Exception) -> None:
            said.append(error)
            self._hear(error)

        async def lost() -> None:
            self._lost.set()

        needs_tls = client.must_be_tls
        await client.connect(
            [server.url],
            name=self._name,
            error_cb=heard,
            closed_cb=lost,
            disconnected_cb=lost,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=_CONNECT_S,
            ping_interval=_PING_S,
            tls=tls_context(self._access) if needs_tls else None,
            user_credentials=self._access.credentials,
            inbox_prefix=_inbox_of(server),
            **_who(server),
        )

    def _hear(self, error: Exception) -> None:
        text = str(error)
        if "permissions violation" in text.lower():
            self.complaint = shortened(text.removeprefix("nats: "))

    async def _until_lost(self) -> None:
        await self._lost.wait()
        client, self._client = self._client, None
        self._connected.clear()
        self._tried.clear()
        self._problem = Away(f"{self.shown}: the connection was lost")
        if client is not None:
            await _shut(client)

    def _unknown(self, error: Exception) -> EngineError:
        """What a library had no class of its own for."""
        if type(error).__module__.partition(".")[0] in ("nkeys", "nacl", "binascii"):
            return Refused(f"{self.shown}: the credentials can't be used: {_kind(error)}")
        return Away(f"{self.shown}: found no NATS server: {_kind(error)}")

    def _told(self, error: Exception) -> EngineError:
        if isinstance(error, EngineError):
            return type(error)(f"{self.shown}: {error}")
        if isinstance(error, ImportError):
            return Refused(f"{error.name} is missing: pip install 'shmperf[fleet]'")
        text = _kind(error)
        says_no = isinstance(error, ssl.SSLCertVerificationError) or "offers no TLS" in text
        if says_no or any(word in text.lower() for word in _WHO):
            return Refused(f"{self.shown}: {text}")
        return Away(f"{self.shown}: {text}")


def shortened(text: str) -> str:
    """What a server said, in one line of a bounded length."""
    return "".join(char if char.isprintable() else " " for char in text[:_MOST_TEXT]).strip()


def _who(server: Server) -> dict[str, Any]:
    if server.user is None:
        return {}
    if server.password is None:
        return {"token": server.user}
    return {"user": server.user, "password": server.password}


def _inbox_of(server: Server) -> str:
    """Where answers come: a place by the user's name, which a server can keep from all others."""
    is_named = server.password is not None and _PLAIN.match(server.user or "")
    return f"_INBOX_{server.user}" if is_named else "_INBOX"


def _kind(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"no TLS: {error.reason or type(error).__name__}"
    if isinstance(error, TimeoutError | asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, errors.NoServersError):
        return "no server answers"
    if isinstance(error, errors.Error):
        return shortened(str(error).removeprefix("nats: ")) or type(error).__name__
    if isinstance(error, OSError) and error.errno is not None and error.errno > 0:
        # asyncio has put its own words, with the address, in the place of the system's.
        return words_of(error.errno)
    if isinstance(error, OSError):
        return shortened(reason_of(error))
    return type(error).__name__


async def _shut(client: Client) -> None:
    # Whatever state it is in, and whatever nats-py says of that: it is not used again.
    with suppress(Exception):
        await asyncio.wait_for(client.close(), _CLOSE_S)
