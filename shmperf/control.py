"""
Questions to a collector and its answers: msgpack messages on a Unix socket, bounded on both sides.

    message:  length (u32, little-endian) · msgpack
    request:  one of the structs below, tagged by its name
    answer:   {"ok": value} or {"error": text}, one for each request, in order

Beside it lies a pipe, ``bell``: a byte in it, whatever it says, ends the collector's wait. Workers
write one when a ring fills up while the collector sleeps, at most a few hundred times a second.

The socket lies in the session's private directory, and each side checks the other's uid. The server
never blocks: it is driven by the collector's loop, a slow client has a bounded buffer, and one that
sends what is no request is cut off and counted.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from pathlib import Path
from struct import Struct
from struct import error as struct_error
from typing import Any

import msgspec

from .errors import SessionError

__all__ = [
    "Changes",
    "Cleanup",
    "Client",
    "Errors",
    "Figures",
    "Flush",
    "InFlight",
    "Mode",
    "Pending",
    "Ping",
    "Request",
    "Server",
    "SinkReport",
    "Stats",
    "Status",
    "Stop",
    "TotalsOf",
    "Tree",
    "wake",
]

_LENGTH = Struct("<I")
_CREDENTIALS = Struct("3i")
_MOST_REQUEST = 1 << 18
_MOST_ANSWER = 256 << 20
_MOST_CONNECTIONS = 64
_CHUNK = 1 << 16
_BELL = "bell"


class Stats(msgspec.Struct, tag=True):
    """Statistics of one tool, or of all."""

    tool: str | None = None


class Figures(msgspec.Struct, tag=True):
    """What the statistics of one tool, or of all, are made of."""

    tool: str | None = None


class TotalsOf(msgspec.Struct, tag=True):
    """Totals of these tools, those that are known; for whoever chooses between them."""

    tools: list[str]


class Errors(msgspec.Struct, tag=True):
    """The exceptions that were caught, by fingerprint."""


class Flush(msgspec.Struct, tag=True):
    """Answered once everything that had ended is on disk."""


class Cleanup(msgspec.Struct, tag=True):
    """Forget history and statistics; *force* overrides the configuration."""

    force: bool = False


class Mode(msgspec.Struct, tag=True):
    """Switch the mode, or with None only ask for it."""

    optimization: bool | None = None


class InFlight(msgspec.Struct, tag=True):
    """The calls that are open now."""


class Tree(msgspec.Struct, tag=True):
    """The graph from tool to tool."""


class Status(msgspec.Struct, tag=True):
    """How collector and workers are."""


class SinkReport(msgspec.Struct, kw_only=True):
    """
    What a sink says of itself; texts are short, times are Unix seconds.

    ``problem`` is what keeps it from sending now, ``last_error`` what the store said last.
    """

    store: str = ""
    tools: int = 0
    sent: int = 0
    last_sent_s: float | None = None
    waiting: int = 0
    unknown: int = 0
    unknown_names: list[str] = []
    refused: int = 0
    retries: int = 0
    problem: str | None = None
    last_error: str | None = None


class Changes(msgspec.Struct, tag=True):
    """A sink's look: totals that have changed after a revision, as journalled; and its report."""

    after: int = -1
    report: SinkReport | None = None


class Stop(msgspec.Struct, tag=True):
    """Drain, write everything and end; answered when it is done."""


class Ping(msgspec.Struct, tag=True):
    """Answered with the collector's pid."""


Request = (
    Stats
    | Figures
    | TotalsOf
    | Errors
    | Flush
    | Cleanup
    | Mode
    | InFlight
    | Tree
    | Status
    | Changes
    | Stop
    | Ping
)

_decode_request = msgspec.msgpack.Decoder(Request).decode
_encode = msgspec.msgpack.Encoder().encode


class Pending:
    """A request that waits for its answer; a second answer, or a late one, does nothing."""

    __slots__ = ("_connection", "request")

    def __init__(self, connection: _Connection, request: Request) -> None:
        self._connection: _Connection | None = connection
        self.request = request

    def reply(self, value: Any) -> None:
        """Answer with *value*."""
        self._send({"ok": value})

    def fail(self, text: str) -> None:
        """Answer that it can't be done, and why."""
        self._send({"error": text})

    def _send(self, answer: dict[str, Any]) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        message = _encode(answer)
        if len(message) > _MOST_ANSWER:
            message = _encode({"error": f"the answer has {len(message)} bytes, too many to send"})
        connection.send(message)


class _Connection:
    """One client: what came and is no whole message yet, what has not gone out yet."""

    def __init__(self, client: socket.socket) -> None:
        self.socket = client
        self.incoming = bytearray()
        self.outgoing = bytearray()
        self.is_stuck = False

    def send(self, message: bytes) -> None:
        # Looked at here: one chunk may hold thousands of requests, all answered before the next.
        if self.is_stuck or len(self.outgoing) + len(message) > _MOST_ANSWER + _LENGTH.size:
            self.is_stuck = True
            self.outgoing.clear()
            return
        self.outgoing += _LENGTH.pack(len(message)) + message
        self.push()

    def push(self) -> None:
        try:
            while self.outgoing:
                sent = self.socket.send(self.outgoing)
                del self.outgoing[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.outgoing.clear()

    def pull(self) -> list[Request] | None:
        """The requests that are complete; None when the client has left or sends nonsense."""
        try:
            chunk = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not chunk:
            return None
        self.incoming += chunk
        return self._parse()

    def _parse(self) -> list[Request]:
        found: list[Request] = []
        while len(self.incoming) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self.incoming)
            if length > _MOST_REQUEST:
                raise ValueError("a request of that length")
            end = _LENGTH.size + length
            if len(self.incoming) < end:
                break
            found.append(_decode_request(bytes(self.incoming[_LENGTH.size : end])))
            del self.incoming[:end]
        return found


class Server:
    """The collector's socket; its thread alone."""

    def __init__(self, directory: Path) -> None:
        """Listen on ``control.sock`` in *directory*; the caller holds the collector's lock."""
        path = directory / "control.sock"
        path.unlink(missing_ok=True)
        self.refused = 0
        self._path = path
        self._bell = _hang_bell(directory / _BELL)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(path))  # point: socket-bind
        except OSError as error:
            self._listener.close()
            os.close(self._bell)
            raise SessionError(f"{path}: {error.strerror or error}") from error
        finally:
            os.umask(mask)
        self._listener.listen(_MOST_CONNECTIONS)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._connections: dict[int, _Connection] = {}

    def wait(self, timeout_s: float) -> list[Pending]:
        """Wait for requests, at most *timeout_s*; whatever else clients do is dealt with."""
        found: list[Pending] = []
        for key, _ in self._selector.select(max(0.0, timeout_s)):
            if key.fileobj is self._listener:
                self._accept()
            elif key.fileobj == self._bell:
                os.read(self._bell, _CHUNK)
            else:
                found += self._serve(self._connections[key.fd])
        for connection in list(self._connections.values()):
            self._watch(connection)
        return found

    def close(self) -> None:
        """Send what can still be sent, and stop listening."""
        for connection in list(self._connections.values()):
            connection.push()
            self._drop(connection)
        self._selector.close()
        self._listener.close()
        if self._bell >= 0:
            os.close(self._bell)
            self._bell = -1
        self._path.unlink(missing_ok=True)  # point: socket-remove
        self._path.with_name(_BELL).unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        if len(self._connections) >= _MOST_CONNECTIONS or _uid_of(client) != os.geteuid():
            self.refused += 1
            client.close()
            return
        self._connections[client.fileno()] = _Connection(client)
        self._selector.register(client, selectors.EVENT_READ)

    def _serve(self, connection: _Connection) -> list[Pending]:
        connection.push()
        try:
            requests = connection.pull()
        except (ValueError, msgspec.MsgspecError, RecursionError):
            self.refused += 1
            requests = None
        if requests is None:
            self._drop(connection)
            return []
        return [Pending(connection, request) for request in requests]

    def _watch(self, connection: _Connection) -> None:
        if connection.is_stuck:
            self.refused += 1
            self._drop(connection)
            return
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.outgoing else 0)
        if self._selector.get_key(connection.socket).events != wanted:
            self._selector.modify(connection.socket, wanted)

    def _drop(self, connection: _Connection) -> None:
        self._connections.pop(connection.socket.fileno(), None)
        self._selector.unregister(connection.socket)
        connection.socket.close()


def wake(directory: Path) -> None:
    """End the wait of the collector of the session in *directory*, if there is one; never waits."""
    try:
        fd = os.open(directory / _BELL, os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"!")
    except OSError:
        return
    finally:
        os.close(fd)


def _hang_bell(path: Path) -> int:
    """A new pipe at *path* and the descriptor that reads it; SessionError when that can't be."""
    try:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # For writing as well: a pipe that nobody writes to counts as ended, and would always ring.
        return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise SessionError(f"{path}: {error.strerror or error}") from error


class Client:
    """One question at a time to the collector of a session."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "control.sock"

    def ask(self, request: Request, timeout_s: float) -> Any:
        """
        The answer to *request*; waits for a collector to come up, too, within *timeout_s*.

        Raises SessionError when there is none, when it takes too long, or when it says no.
        """
        deadline = time.monotonic() + timeout_s
        with self._connect(deadline) as connection:
            try:
                message = _encode(request)
                connection.sendall(_LENGTH.pack(len(message)) + message)
                answer = msgspec.msgpack.decode(self._receive(connection, deadline))
            except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
                raise SessionError(f"the collector did not answer: {error}") from None
        if not isinstance(answer, dict) or "ok" not in answer:
            text = answer.get("error") if isinstance(answer, dict) else "an answer that is none"
            raise SessionError(str(text))
        return answer["ok"]

    def _connect(self, deadline: float) -> socket.socket:
        while True:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                connection.connect(str(self._path))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                connection.close()
                if time.monotonic() >= deadline:
                    raise SessionError("no collector is running") from None
                time.sleep(0.002)
                continue
            except OSError as error:
                connection.close()
                raise SessionError(f"{self._path}: {error.strerror or error}") from None
            if _uid_of(connection) != os.geteuid():
                connection.close()
                raise SessionError(f"{self._path}: another user's process answers there")
            return connection

    def _receive(self, connection: socket.socket, deadline: float) -> bytes:
        (length,) = _LENGTH.unpack(_exactly(connection, _LENGTH.size, deadline))
        if length > _MOST_ANSWER:
            raise ValueError("found an answer of that length")
        return _exactly(connection, length, deadline)


def _exactly(connection: socket.socket, count: int, deadline: float) -> bytes:
    found = bytearray()
    while len(found) < count:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            # Also when it sends a little now and then.
            raise TimeoutError("timed out")
        connection.settimeout(left_s)
        chunk = connection.recv(min(_CHUNK, count - len(found)))
        if not chunk:
            raise ValueError("it hung up")
        found += chunk
    return bytes(found)


def _uid_of(connection: socket.socket) -> int:
    """The uid at the other end; our own where the system has no way to tell."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return os.geteuid()
    try:
        credentials = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[1])
    except (OSError, struct_error):
        return -1
