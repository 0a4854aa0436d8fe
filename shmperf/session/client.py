"""One question at a time to the collector of a session, and the bell that wakes it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from shmperf.errors import NoAnswer, SessionError
from shmperf.files import open_private, translated
from shmperf.stdlib import Path, Socket, os, time

from .asking import BELL, CHUNK_BYTES, LENGTH, MOST_ANSWER_BYTES, encode, pid_of, uid_of

if TYPE_CHECKING:
    # The structs of all questions and answers cost more than asking.
    from .messages import Question

__all__ = ["Client", "wake"]

_RETRY_S, _LONGEST_RETRY_S = 0.01, 0.05
_REVIVE_S = 0.05
# A busy one refuses more connections than it can hold, for a while; one of another version, for
# ever, what it can't read.
_PATIENCE_S = 2.0


def wake(directory: Path) -> bool:
    """
    End the wait of the collector of the session in *directory*; never waits itself.

    False when there is none that hears it.
    """
    try:
        fd = open_private(directory / BELL, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        os.write(fd, b"!")
    except OSError:
        return True  # full of rings that it has not heard yet
    finally:
        os.close(fd)
    return True


class _HungUp(Exception):
    """The collector ended, or was killed, with the question in its hand; or it refused to hear."""


class Client:
    """
    One question at a time to the collector of a session.

    With *revive* a question outlives the collector that heard it: it is asked again until one
    answers or time is up. *revive* is called whenever nobody listens, again and again: it may start
    a collector, and raises SessionError when waiting for one is of no use.
    """

    def __init__(self, directory: Path, revive: Callable[[], object] | None = None) -> None:
        self._path = directory / "control.sock"
        self._revive = revive

    def ask(self, request: Question, timeout_s: float) -> Any:
        """
        The answer to *request*; waits for a collector to come up, too, within *timeout_s*.

        Raises NoAnswer when there is none or it takes too long, SessionError when it says no.
        """
        deadline = time.monotonic() + timeout_s
        message = encode(request)
        give_up_at: dict[int, float] = {}
        pause_s = _RETRY_S
        while True:
            with self._connect(deadline) as connection:
                pid = pid_of(connection)
                try:
                    answer = self._exchange(connection, message, deadline)
                    break
                except _HungUp as error:
                    now = time.monotonic()
                    # One that lives, and hangs up again and again, will do so for ever.
                    until = give_up_at.setdefault(pid, now + _PATIENCE_S)
                    if self._revive is None or now > min(until, deadline):
                        raise NoAnswer(f"the collector did not answer: {error}") from None
            time.sleep(pause_s)
            pause_s = min(_LONGEST_RETRY_S, pause_s * 1.5)
        if not isinstance(answer, dict) or "ok" not in answer:
            text = answer.get("error") if isinstance(answer, dict) else "an answer that is none"
            raise SessionError(str(text))
        return answer["ok"]

    def _exchange(self, connection: Socket, message: bytes, deadline: float) -> Any:
        try:
            connection.sendall(LENGTH.pack(len(message)) + message)
            return msgspec.msgpack.decode(self._receive(connection, deadline))
        except ConnectionError as error:
            raise _HungUp(str(error)) from None
        except (OSError, msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise NoAnswer(f"the collector did not answer: {error}") from None

    def _connect(self, deadline: float) -> Socket:
        asked_for_at = 0.0
        while True:
            try:
                connection = Socket(socket.AF_UNIX, socket.SOCK_STREAM)
            except OSError as error:
                # No descriptor for it.
                raise translated(error, self._path, NoAnswer) from None
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                connection.connect(str(self._path))
            except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
                connection.close()
                now = time.monotonic()
                if now >= deadline:
                    raise NoAnswer("no collector is running") from None
                if self._revive is not None and now >= asked_for_at:
                    asked_for_at = now + _REVIVE_S
                    self._revive()
                time.sleep(0.002)
                continue
            except OSError as error:
                connection.close()
                raise translated(error, self._path, NoAnswer) from None
            if uid_of(connection) != os.geteuid():
                connection.close()
                raise SessionError(f"{self._path}: another user's process answers there")
            return connection

    def _receive(self, connection: Socket, deadline: float) -> bytes:
        (length,) = LENGTH.unpack(_exactly(connection, LENGTH.size, deadline))
        if length > MOST_ANSWER_BYTES:
            raise ValueError("found an answer of that length")
        return _exactly(connection, length, deadline)


def _exactly(connection: Socket, count: int, deadline: float) -> bytes:
    found = bytearray()
    while len(found) < count:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            # Also when it sends a little now and then.
            raise TimeoutError("timed out")
        connection.settimeout(left_s)
        chunk = connection.recv(min(CHUNK_BYTES, count - len(found)))
        if not chunk:
            raise ConnectionResetError("it hung up")
        found += chunk
    return bytes(found)
