"""Questions and answers over the socket: bounded, checked, and never in the collector's way."""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shmperf.errors import NoAnswer, SessionError
from shmperf.session.client import Client, wake
from shmperf.session.messages import Cleanup, Ping, Stats
from shmperf.session.server import Pending, Server
from shmperf.session.sidecar import client_of
from tests.support import DEADLINE_S, Place, wait_until


class Answering:
    """A server driven by a thread, as the collector drives it."""

    def __init__(self, directory: Path, answer: Callable[[Pending], None]) -> None:
        self.server = Server(directory)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(answer,))
        self._thread.start()

    def _run(self, answer: Callable[[Pending], None]) -> None:
        while not self._stop.is_set():
            for pending in self.server.wait(0.01):
                answer(pending)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.close()


def reply_with_request(pending: Pending) -> None:
    pending.reply(msgspec.to_builtins(pending.request))


@pytest.fixture
def answering(runtime: Path) -> Iterator[Answering]:
    found = Answering(runtime, reply_with_request)
    yield found
    found.close()


def connect(runtime: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(runtime / "control.sock"))
    client.settimeout(DEADLINE_S)
    return client


def frame(content: bytes) -> bytes:
    return struct.pack("<I", len(content)) + content


def test_requests_arrive_with_their_fields(answering: Answering, runtime: Path) -> None:
    """Each request is answered by what it asked."""
    client = Client(runtime)
    assert client.ask(Stats("ünï"), DEADLINE_S) == {"type": "Stats", "tool": "ünï"}
    assert client.ask(Cleanup(force=True), DEADLINE_S)["force"] is True


def test_refusal_is_an_error_with_its_text(runtime: Path) -> None:
    """What the collector can't do comes back in its words."""
    answering = Answering(runtime, lambda pending: pending.fail("not today"))
    with pytest.raises(SessionError, match="not today"):
        Client(runtime).ask(Ping(), DEADLINE_S)
    answering.close()


def test_large_answers_come_whole(runtime: Path) -> None:
    """An answer of many megabytes arrives in one piece."""
    answering = Answering(runtime, lambda pending: pending.reply("x" * 20_000_000))
    assert len(Client(runtime).ask(Ping(), DEADLINE_S)) == 20_000_000
    answering.close()


def test_nobody_there_is_told_in_time(runtime: Path) -> None:
    """Without a collector the client gives up at its deadline."""
    with pytest.raises(SessionError, match="no collector"):
        Client(runtime).ask(Ping(), 0.05)


def test_silence_is_told_in_time(runtime: Path) -> None:
    """A collector that does not answer is given up at the deadline."""
    server = Server(runtime)
    with pytest.raises(SessionError, match="did not answer"):
        Client(runtime).ask(Ping(), 0.1)
    server.close()


class Mortal:
    """Collectors that come up when they are missed, the first of which die with the question."""

    def __init__(self, directory: Path, deaths: int) -> None:
        self.directory = directory
        self.deaths = deaths
        self.alive: list[Answering] = []

    def revive(self) -> None:
        if not self.alive:
            self.alive.append(Answering(self.directory, self._answer))

    def _answer(self, pending: Pending) -> None:
        if self.deaths:
            self.deaths -= 1
            # As at a kill: what was connected is cut off.
            one = pending._connection
            assert one is not None
            one.socket.shutdown(socket.SHUT_RDWR)
        else:
            pending.reply("alive")

    def close(self) -> None:
        for one in self.alive:
            one.close()


def test_a_question_outlives_the_collector_that_heard_it(runtime: Path) -> None:
    """Who hung up is asked again, and one that is missing is asked for, until one answers."""
    mortal = Mortal(runtime, deaths=2)
    try:
        assert Client(runtime, mortal.revive).ask(Ping(), DEADLINE_S) == "alive"
        assert mortal.deaths == 0
    finally:
        mortal.close()


def test_one_that_hangs_up_for_ever_is_given_up(runtime: Path) -> None:
    """What a collector can't read it will not read the tenth time: who asked is told soon."""
    mortal = Mortal(runtime, deaths=1_000)
    try:
        with pytest.raises(NoAnswer, match=r"hung up|reset|Broken"):
            Client(runtime, mortal.revive).ask(Ping(), DEADLINE_S)
        assert mortal.deaths > 900
    finally:
        mortal.close()


def test_nobody_beside_a_collector_waits_for_one_that_has_gone(runtime: Path) -> None:
    """Whoever waits when the session ends is told so then, and has its time for what is to send."""
    ended = threading.Event()
    client, told = client_of(runtime, ended.is_set), list[str]()

    def ask() -> None:
        with pytest.raises(NoAnswer) as error:
            client.ask(Ping(), 100 * DEADLINE_S)
        told.append(str(error.value))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    ended.set()
    asking.join(DEADLINE_S)
    assert told == ["the collector has ended"]


def test_more_who_ask_than_are_heard_at_once_are_answered_in_turn(runtime: Path) -> None:
    """Whoever finds all places taken asks again; nobody is sent to the disk for that."""
    answering = Answering(runtime, reply_with_request)
    answers: list[Any] = []

    def ask(number: int) -> None:
        client = Client(runtime, lambda: None)
        answers.append(client.ask(Stats(str(number)), DEADLINE_S)["tool"])

    held = [connect(runtime) for _ in range(64)]
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    try:
        wait_until(lambda: len(answering.server._connections) == 64, "all places to be taken")
        for thread in asking:
            thread.start()
        wait_until(lambda: answering.server.refused > 20, "everybody to be refused")
    finally:
        for client in held:
            client.close()
        for thread in asking:
            thread.join()
        answering.close()
    assert sorted(answers) == [str(number) for number in range(8)]


def test_waiting_ends_when_it_is_of_no_use(runtime: Path) -> None:
    """Whoever knows that nobody will come ends the wait."""

    def nobody() -> None:
        raise SessionError("the session is over")

    with pytest.raises(SessionError, match="is over"):
        Client(runtime, nobody).ask(Ping(), DEADLINE_S)


def test_socket_is_the_users_alone(answering: Answering, runtime: Path) -> None:
    """The socket is 0600."""
    assert (runtime / "control.sock").stat().st_mode & 0o777 == 0o600


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=1, max_size=400))
def test_garbage_disturbs_nobody_else(answering: Answering, runtime: Path, garbage: bytes) -> None:
    """A client that sends nonsense is cut off or waited for; the next one is served."""
    with connect(runtime) as client:
        client.sendall(garbage)
        client.shutdown(socket.SHUT_WR)
    assert Client(runtime).ask(Ping(), DEADLINE_S) == {"type": "Ping"}


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("<I", 1 << 31),
        frame(b"\xc1"),
        frame(msgspec.msgpack.encode({"type": "Nonsense"})),
        frame(msgspec.msgpack.encode({"type": "Stats", "tool": 5})),
        frame(b"\x91" * 100_000),
    ],
)
def test_what_is_no_request_is_refused_and_counted(
    answering: Answering, runtime: Path, message: bytes
) -> None:
    """Lengths beyond the bound and messages of no kind end the connection."""
    with connect(runtime) as client:
        client.sendall(message)
        assert client.recv(10) == b""
    assert answering.server.refused == 1


def test_a_request_may_come_in_pieces_and_several_at_once(
    answering: Answering, runtime: Path
) -> None:
    """Framing does not depend on how bytes arrive."""
    ping = frame(msgspec.msgpack.encode(Ping()))
    with connect(runtime) as client:
        for byte in ping:
            client.sendall(bytes([byte]))
        client.sendall(ping * 3)
        found = b""
        while found.count(b"Ping") < 4:
            found += client.recv(1000)


def test_too_many_connections_are_turned_away(answering: Answering, runtime: Path) -> None:
    """Connections are bounded; once some leave, others are served."""
    clients = [connect(runtime) for _ in range(80)]
    closed = 0
    for client in clients[64:]:
        closed += client.recv(1) == b""
    assert closed == 16
    for client in clients:
        client.close()

    def is_served() -> bool:
        try:
            return bool(Client(runtime).ask(Ping(), DEADLINE_S))
        except SessionError:
            return False

    wait_until(is_served, "a place to become free")


def test_client_that_does_not_read_blocks_nobody(runtime: Path) -> None:
    """Answers to a stuck client wait in a bounded buffer while others are served."""

    def answer(pending: Pending) -> None:
        value: Any = "x" * 5_000_000 if isinstance(pending.request, Stats) else 1
        pending.reply(value)

    answering = Answering(runtime, answer)
    with connect(runtime) as stuck:
        stuck.sendall(frame(msgspec.msgpack.encode(Stats())) * 3)
        assert Client(runtime).ask(Ping(), DEADLINE_S) == 1
    answering.close()


def test_answer_that_is_too_long_is_refused_in_words(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client learns that its answer can't be sent."""
    monkeypatch.setattr("shmperf.session.server.MOST_ANSWER_BYTES", 100)
    answering = Answering(runtime, lambda pending: pending.reply("x" * 200))
    with pytest.raises(SessionError, match="too many to send"):
        Client(runtime).ask(Ping(), DEADLINE_S)
    answering.close()


def test_client_that_reads_nothing_is_cut_off(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Requests without end whose answers nobody takes cost a bounded buffer."""
    monkeypatch.setattr("shmperf.session.server.MOST_ANSWER_BYTES", 1 << 16)
    answering = Answering(runtime, lambda pending: pending.reply("x" * 60_000))
    client = connect(runtime)
    client.setblocking(False)

    def is_refused() -> bool:
        try:
            client.send(frame(msgspec.msgpack.encode(Ping())) * 50)
        except OSError:
            pass
        return answering.server.refused > 0

    wait_until(is_refused, "the client to be cut off")
    client.close()
    answering.close()


def test_answer_in_drops_ends_at_the_deadline(runtime: Path) -> None:
    """A peer that sends a little now and then does not hold a client for ever."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime / "control.sock"))
        listener.listen()
        stop = threading.Event()

        def drip() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.sendall(struct.pack("<I", 1 << 20))
                while not stop.wait(0.01):
                    try:
                        peer.sendall(b"x")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            with pytest.raises(SessionError, match="timed out"):
                Client(runtime).ask(Ping(), 0.2)
        finally:
            stop.set()
            thread.join()


def test_wake_ends_the_wait_of_a_collector_and_never_waits(runtime: Path) -> None:
    """A byte ends one wait, however many came; without a collector nothing happens."""
    wake(runtime)
    server = Server(runtime)
    for _ in range(100_000):
        wake(runtime)
    assert server.wait(3600) == []
    (runtime / "bell").unlink()
    os.mkfifo(runtime / "bell")
    wake(runtime)
    server.close()
    assert not list(runtime.iterdir())


def test_worker_wakes_the_collector_when_a_ring_is_full(place: Place) -> None:
    """Not before, and without waiting: here nobody ever answers."""
    place.run_program(
        "messages/worker_wakes_collector_when_ring",
        SHMPERF_SESSION="unattended",
    )
