"""
The collector's end of the control socket: requests come in, answers go out, nobody blocks it.

Driven by the collector's loop. A slow client has a bounded buffer, and one that sends what is no
request is cut off and counted.
"""

from __future__ import annotations

import os
import selectors
import socket
from pathlib import Path
from typing import Any

import msgspec

from shmperf.errors import SessionError
from shmperf.files import open_private, translated

from .asking import (
    BELL,
    CHUNK_BYTES,
    LENGTH,
    MOST_ANSWER_BYTES,
    MOST_REQUEST_BYTES,
    encode,
    uid_of,
)
from .messages import Question

__all__ = ["Pending", "Server"]
_MOST_CONNECTIONS = 64

decode_request = msgspec.msgpack.Decoder(Question).decode


class Pending:
    """A request that waits for its answer; a second answer, or a late one, does nothing."""

    __slots__ = ("_connection", "request")

    def __init__(self, connection: _Connection, request: Question) -> None:
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
        try:
            message = encode(answer)
        except ValueError as error:  # a name that is no UTF-8
            message = encode({"error": f"the answer can't be written: {error!a}"})
        if len(message) > MOST_ANSWER_BYTES:
            message = encode({"error": f"the answer has {len(message)} bytes, too many to send"})
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
        if self.is_stuck or len(self.outgoing) + len(message) > MOST_ANSWER_BYTES + LENGTH.size:
            self.is_stuck = True
            self.outgoing.clear()
            return
        self.outgoing += LENGTH.pack(len(message)) + message
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

    def pull(self) -> list[Question] | None:
        """The requests that are complete; None when the client has left or sends nonsense."""
        try:
            chunk = self.socket.recv(CHUNK_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not chunk:
            return None
        self.incoming += chunk
        return self._parse()

    def _parse(self) -> list[Question]:
        found: list[Question] = []
        while len(self.incoming) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self.incoming)
            if length > MOST_REQUEST_BYTES:
                raise ValueError("a request of that length")
            end = LENGTH.size + length
            if len(self.incoming) < end:
                break
            found.append(decode_request(bytes(self.incoming[LENGTH.size : end])))
            del self.incoming[:end]
        return found


class Server:
    """The collector's socket; its thread alone."""

    def __init__(self, directory: Path) -> None:
        """Listen on ``control.sock`` in *directory*; the caller holds the collector's lock."""
        path = directory / "control.sock"
        path.unlink(missing_ok=True)
        self.refused = 0
        self._has_rung = False
        self._path = path
        self._bell = _hang_bell(directory / BELL)
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.setblocking(False)
        mask = os.umask(0o177)
        try:
            self._listener.bind(str(path))  # point: socket-bind
        except OSError as error:
            self._listener.close()
            os.close(self._bell)
            raise translated(error, path, SessionError) from error
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
                os.read(self._bell, CHUNK_BYTES)
                self._has_rung = True
            else:
                found += self._serve(self._connections[key.fd])
        for connection in list(self._connections.values()):
            self._watch(connection)
        return found

    def has_rung(self) -> bool:
        """True when somebody has rung the bell since this was last asked."""
        rung, self._has_rung = self._has_rung, False
        return rung

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
        self._path.with_name(BELL).unlink(missing_ok=True)

    def _accept(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        client.setblocking(False)
        if len(self._connections) >= _MOST_CONNECTIONS or uid_of(client) != os.geteuid():
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


def _hang_bell(path: Path) -> int:
    """A new pipe at *path* and the descriptor that reads it; SessionError when that can't be."""
    try:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # For writing as well: a pipe that nobody writes to counts as ended, and would always ring.
        return open_private(path, os.O_RDWR | os.O_NONBLOCK)
    except OSError as error:
        raise translated(error, path, SessionError) from error
