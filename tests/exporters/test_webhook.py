"""Alerts by webhook: a real server, each change once, bounded, nowhere else."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from shmperf.exporters.webhook import Webhook, is_worth_a_try, post
from shmperf.storage.consumer import Consumer
from shmperf.storage.outbox import Outbox
from shmperf.testing import Clock


class Server(ThreadingHTTPServer):
    """Answers as it is told, and keeps what it got."""

    daemon_threads = True
    answers: list[tuple[int, dict[str, str]]]
    got: list[tuple[str, str, Any]]


class Answering(BaseHTTPRequestHandler):
    """One request."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, self.headers["Idempotency-Key"], body))
        status, headers = self.server.answers.pop(0) if self.server.answers else (200, {})
        if status < 0:
            self.wfile.write(b"\0garbage\r\n\r\n" if status == -1 else b"")
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    """One on this machine."""
    found = Server(("127.0.0.1", 0), Answering)
    found.answers, found.got = [], []
    thread = threading.Thread(target=found.serve_forever, args=(0.01,))
    thread.start()
    yield found
    found.shutdown()
    thread.join()
    found.server_close()


class Story:
    """An outbox, a webhook that reads it, and its clock."""

    def __init__(self, storage: Path, server: Server) -> None:
        self.storage, self.clock = storage, Clock()
        self.url = f"http://user:word@127.0.0.1:{server.server_port}/secret/path"
        first = Consumer(storage, "webhook")
        first.register()
        first.close()
        self.outbox = Outbox(storage)
        self.hook = self.new()

    def new(self) -> Webhook:
        """Another process of it."""
        return Webhook(self.storage, "env:HOOK", {"HOOK": self.url}, self.clock)

    def put(self, *names: str) -> None:
        """Alerts that began, each behind some calls."""
        self.outbox.prepare(1 << 20)
        for name in names:
            alert = {"id": name, "kind": "latency", "ended": None}
            call = '{"kind":"call","tool":"t"}\n' * 3
            line = json.dumps({"kind": "alert", "alert": alert}, separators=(",", ":"))
            self.outbox.append(f"{call}{line}\n".encode())
        self.outbox.commit()

    def run(self) -> None:
        """All that can be sent now."""
        while self.hook.step():
            pass


@pytest.fixture
def story(tmp_path: Path, server: Server) -> Iterator[Story]:
    """A story with that server."""
    found = Story(tmp_path, server)
    yield found
    found.hook._consumer.close()


def test_each_alert_is_posted_once(story: Story, server: Server) -> None:
    """In their order, the same object, and never again by another process."""
    story.put("a", "b")
    story.run()
    story.hook._consumer.close()
    story.hook = story.new()
    story.put("c")
    story.run()
    assert [(path, key) for path, key, _ in server.got] == [
        ("/secret/path", f"{name}-begin") for name in "abc"
    ]
    assert server.got[0][2] == {"id": "a", "kind": "latency", "ended": None}


@pytest.mark.parametrize("answer", [(429, {}), (503, {}), (-1, {}), (-2, {})])
def test_what_may_be_taken_later_is_sent_later(
    story: Story, server: Server, answer: tuple[int, dict[str, str]]
) -> None:
    """After a pause that doubles; nothing overtakes, and the path is told nowhere."""
    server.answers = [answer, answer]
    story.put("a", "b")
    story.run()
    assert len(server.got) == 1
    assert "secret" not in str(story.hook.report)
    assert "word" not in str(story.hook.report)
    story.clock.now_s += 1.1
    story.run()
    story.clock.now_s += 1.1
    story.run()
    assert len(server.got) == 2
    story.clock.now_s += 1.1
    story.run()
    assert [key for _, key, _ in server.got] == ["a-begin"] * 3 + ["b-begin"]
    assert story.hook.report.sent == 2


def test_retry_after_is_heeded(story: Story, server: Server) -> None:
    """Who says when to come again is not asked before."""
    server.answers = [(429, {"Retry-After": "30"})]
    story.put("a")
    story.run()
    story.clock.now_s += 29
    story.run()
    assert len(server.got) == 1
    story.clock.now_s += 2
    story.run()
    assert len(server.got) == 2


def test_retry_after_may_be_a_date(story: Story, server: Server) -> None:
    """As HTTP has it, in whole seconds; further away than an hour it is an hour."""
    server.answers = [
        (429, {"Retry-After": formatdate(time.time() + 600, usegmt=True)}),
        (503, {"Retry-After": formatdate(time.time() + 10**7, usegmt=True)}),
    ]
    story.put("a")
    for tries, wait_s in ((1, 500.0), (1, 101.0), (2, 3_500.0), (2, 101.0)):
        story.run()
        assert len(server.got) == tries
        story.clock.now_s += wait_s
    story.run()
    assert len(server.got) == 3


@pytest.mark.parametrize(
    "text", ["soon", "-5", "1e3", "٣٠", "9" * 400, "Mon, 99 Foo 2026 00:00:00 GMT", "0"]
)
def test_odd_retry_after_is_bounded(story: Story, server: Server, text: str) -> None:
    """What is no wish is none, and no wish is longer than an hour."""
    server.answers = [(429, {"Retry-After": text.encode().decode("latin-1")})]
    story.put("a")
    story.run()
    story.clock.now_s += 3_601.0
    story.run()
    assert len(server.got) == 2


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 20"])
def test_server_that_hangs_is_let_go(said: bytes) -> None:
    """Before its status or within it: after a while the alert is to be sent again."""
    with socket.create_server(("127.0.0.1", 0)) as hanging:
        held: list[socket.socket] = []

        def hang() -> None:
            connection, _ = hanging.accept()
            connection.sendall(said)
            held.append(connection)

        thread = threading.Thread(target=hang)
        thread.start()
        answer = post(f"http://127.0.0.1:{hanging.getsockname()[1]}/", b"{}", "key", 0.3)
        thread.join()
        for connection in held:
            connection.close()
    assert (answer.is_taken, is_worth_a_try(answer)) == (False, True)


@pytest.mark.parametrize("status", [301, 307, 400, 404])
def test_redirects_and_refusals_are_counted(story: Story, server: Server, status: int) -> None:
    """Nothing is followed anywhere; what is refused is not in the way of the next one."""
    elsewhere = f"http://localhost:{server.server_port}/elsewhere"
    server.answers = [(status, {"Location": elsewhere})]
    story.put("a", "b")
    story.run()
    assert [path for path, _, _ in server.got] == ["/secret/path"] * 2
    assert (story.hook.report.sent, story.hook.report.dropped) == (1, 1)


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    """A host without a server, a variable that is not set: told, and tried again."""
    answer = post("http://127.0.0.1:1/hidden", b"{}", "key")
    assert (answer.is_taken, is_worth_a_try(answer)) == (False, True)
    assert "hidden" not in answer.text
    hook = Webhook(tmp_path, "env:NOT_SET", {})
    assert not hook.step()
    assert hook.report.problem == "env:NOT_SET is not set"


@pytest.mark.parametrize("text", ["ftp://host/hidden", "http:///hidden", "http://h/hidden\r\nA: b"])
def test_variable_that_holds_no_url_is_told(tmp_path: Path, text: str) -> None:
    """What is wrong with it, not what it is; nothing is sent anywhere."""
    hook = Webhook(tmp_path, "env:HOOK", {"HOOK": text})
    assert not hook.step()
    assert (hook.report.problem or "").startswith("env:HOOK: expected a")
    assert "hidden" not in (hook.report.problem or "")
