"""One question at a time to the collector of a session, and the bell that wakes it."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import msgspec

from shmperf.errors import SessionError
from shmperf.files import open_private, translated

from .messages import BELL, CHUNK_BYTES, LENGTH, MOST_ANSWER_BYTES, Question, encode, uid_of

__all__ = ["Client", "wake"]


def wake(directory: Path) -> None:
    """End the wait of the collector of the session in *directory*, if there is one; never waits."""
    try:
        fd = open_private(directory / BELL, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return
    try:
        os.write(fd, b"!")
    except OSError:
        return
    finally:
        os.close(fd)


class Client:
    """One question at a time to the collector of a session."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "control.sock"

    def ask(self, request: Question, timeout_s: float) -> Any:
        """
        The answer to *request*; waits for a collector to come up, too, within *timeout_s*.

        Raises SessionError when there is none, when it takes too long, or when it says no.
        """
        deadline = time.monotonic() + timeout_s
        with self._connect(deadline) as connection:
            try:
                message = encode(request)
                connection.sendall(LENGTH.pack(len(message)) + message)
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
                raise translated(error, self._path, SessionError) from None
            if uid_of(connection) != os.geteuid():
                connection.close()
                raise SessionError(f"{self._path}: another user's process answers there")
            return connection

    def _receive(self, connection: socket.socket, deadline: float) -> bytes:
        (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size, deadline))
        if length > MOST_ANSWER_BYTES:
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
        chunk = connection.recv(min(CHUNK_BYTES, count - len(found)))
        if not chunk:
            raise ValueError("it hung up")
        found += chunk
    return bytes(found)
