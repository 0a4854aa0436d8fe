"""Whatever listens in a broker's place, or breaks: a call ends in time, and says what it found."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from shmperf.fleet.access import access_to
from shmperf.fleet.engine import Away, EngineError, Refused
from shmperf.fleet.jetstream import JetStream
from tests.support import DEADLINE_S

INFO = (
    b'INFO {"server_id":"x","version":"2.9.10","max_payload":1048576,"headers":true,"proto":1}\r\n'
)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """Something at an address of its own, one thread a connection; its URL."""
    threads: list[threading.Thread] = []
    taken: list[socket.socket] = []

    def accept(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            taken.append(connection)
            threads.append(threading.Thread(target=answer, args=(connection,)))
            threads[-1].start()

    def answer(connection: socket.socket) -> None:
        with connection:
            try:
                serve(connection)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=accept, args=(listener,))
        accepting.start()
        try:
            yield f"nats://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join(DEADLINE_S)
            for one in taken:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
            for thread in threads:
                thread.join(DEADLINE_S)


def silent(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def web(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    silent(connection)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"INFO {not json\r\n")
    silent(connection)


def noise(connection: socket.socket) -> None:
    connection.sendall(INFO + b"\xff" * 10_000)
    silent(connection)


def answering(text: bytes) -> Callable[[socket.socket], None]:
    """A server that says the same to every request."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(INFO)
        subscription = b"1"
        while received := connection.recv(1 << 16):
            for line in received.split(b"\r\n"):
                word, *parts = line.split(b" ")
                if word == b"PING":
                    connection.sendall(b"PONG\r\n")
                elif word == b"SUB":
                    subscription = parts[-1]
                elif word in (b"PUB", b"HPUB") and len(parts) > 2:
                    head = b"MSG %s %s %d\r\n" % (parts[1], subscription, len(text))
                    connection.sendall(head + text + b"\r\n")

    return serve


@pytest.mark.parametrize("serve", [silent, web, garbage, noise])
def test_what_is_no_broker_is_told(serve: Callable[[socket.socket], None]) -> None:
    """It says nothing, something else, or breaks off in the middle of it."""
    with listening(serve) as url:
        engine = JetStream(access_to(url), "shmperf", "tests")
        try:
            begun_s = time.monotonic()
            with pytest.raises(EngineError, match=r"nats://127\.0\.0\.1"):
                engine.open()
            assert time.monotonic() - begun_s < DEADLINE_S / 2
        finally:
            engine.close()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "no answer of JetStream's"),
        (b"[1, 2]", "no answer of JetStream's"),
        (b'{"config": {"description": 7}}', "no answer of JetStream's"),
        (b"[" * 100_000, "no answer of JetStream's"),
        (b'{"config": {"description": "mine"}}', "not one of shmperf's"),
        (b'{"error": {"code": 400, "err_code": 1, "description": "odd\\nthing"}}', "odd thing"),
        (b'{"error": {"code": 503, "err_code": 10008, "description": "later"}}', "later"),
    ],
)
def test_answers_are_not_believed(text: bytes, told: str) -> None:
    """Each is what it should be, or is told in one line."""
    with listening(answering(text)) as url:
        engine = JetStream(access_to(url), "shmperf", "tests")
        try:
            with pytest.raises((Refused, Away), match=told) as caught:
                engine.open()
            assert "\n" not in str(caught.value)
            assert isinstance(caught.value, Away) == (told == "later")
        finally:
            engine.close()


def test_one_of_several_servers_is_enough() -> None:
    """Those that are away are passed by."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        away = found.getsockname()[1]
    with listening(answering(b'{"config": {"description": "shmperf/1 partitions=3"}}')) as url:
        urls = f"nats://127.0.0.1:{away},{url},nats://127.0.0.1:{away}"
        engine = JetStream(access_to(urls), "shmperf", "tests")
        try:
            assert engine.open().partitions == 3
        finally:
            engine.close()
