"""Who we are at a broker: told to it and to nobody else; refused, and right again."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.config.options import Fleet
from shmperf.fleet.access import access_of, access_to
from shmperf.fleet.engine import Away, Refused
from shmperf.fleet.jetstream import JetStream
from tests.support import Place, missing, wait_until

from .broker import Broker, needs_broker
from .node import NODE, Node, configure
from .taking import Everything

needs_broker()
if shutil.which("openssl") is None:
    missing("openssl is not installed: .ci/counterparts does it")

USERS = 'authorization {{ users: [ {{ user: "node", password: "{}" }} ] }}'
TLS = 'tls {{ cert_file: "{0}.pem", key_file: "{0}.key", timeout: 5 }}'


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Broker]:
    """A server with a user."""
    found = Broker(tmp_path / "broker", more=USERS.format("hidden,1"), user="node:hidden,1")
    try:
        yield found.start()
    finally:
        found.close()


def problem_of(url: str, ca: str = "") -> str:
    """What is told of connecting there."""
    engine = JetStream(access_to(url, ca=ca), "shmperf", "tests")
    try:
        with pytest.raises((Refused, Away)) as caught:
            engine.open()
        return f"{type(caught.value).__name__}: {caught.value}"
    finally:
        engine.close()


def test_wrong_credentials_are_told_and_cost_nothing(place: Place, guarded: Broker) -> None:
    """By `status`; nothing is lost, and once the file is right, all is published."""
    wrong = guarded.url.replace("hidden,1", "hidden,2")
    path = configure(place, wrong)
    node = Node(place)
    node.make(20)
    problem = wait_until(lambda: node.publisher().get("problem"), "the problem")
    assert problem == f"nats://{guarded.address}/***: 'Authorization Violation'"
    node.make(20)
    assert node.publisher()["sent"] == 0
    path.write_text(path.read_text().replace("hidden,2", "hidden,1"))
    found = Everything(guarded.connect(), NODE)
    wait_until(lambda: len(found.take().calls) == 80, "all calls")
    shown = place.shmperf("config") + place.shmperf("status") + place.shmperf("status", "--json")
    assert len(node.end()) == 80
    shown += "".join(path.read_text() for path in place.runtime.rglob("*.log"))
    for left in place.storage.rglob("*"):
        assert left.is_dir() or b"hidden,1" not in left.read_bytes(), left
    assert "hidden,1" not in shown
    assert f"url: nats://{guarded.address}/***" in shown


def test_the_url_may_stand_in_a_variable(place: Place, guarded: Broker) -> None:
    """Then the configuration holds no secret at all."""
    configure(place, "env:BROKER")
    node = Node(place, BROKER=guarded.url)
    node.make(5)
    ids = node.end()
    found = Everything(guarded.connect(), NODE)
    wait_until(lambda: {one["data"]["id"] for one in found.take().calls} == ids, "all calls")


def test_what_can_not_be_followed_is_told() -> None:
    """In one line that repeats no secret."""
    for fleet, text in (
        (Fleet(url="env:NOWHERE"), "fleet.url: env:NOWHERE is not set"),
        (Fleet(url="env:WRONG"), r"\*\*\*: expected a nats or tls URL"),
        (Fleet(url="nats://h", credentials="env:NOWHERE"), "fleet.credentials: env:NOWHERE is"),
        (Fleet(url="nats://h", credentials="hidden"), "credentials: found no such file"),
    ):
        with pytest.raises(Refused, match=text) as caught:
            access_of(fleet, {"WRONG": "me:hidden@host"})
        assert "hidden" not in str(caught.value)
    access = access_to("nats://me:hidden@host:4222,tls://token-hidden@[::1]")
    assert "hidden" not in repr(access)
    assert access.servers[0][:3] == ("nats://host:4222", "me", "hidden")
    assert access.servers[1][:3] == ("tls://[::1]", "token-hidden", None)
    with pytest.raises(Refused, match=r"fleet\.ca: No such file"):
        JetStream(access_to("tls://127.0.0.1:1", ca="/nowhere.pem"), "shmperf").open()


def certificate(place: Path, name: str) -> Path:
    """One that signs itself, for this machine."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    command += ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command += ["-keyout", str(place / f"{name}.key"), "-out", str(place / f"{name}.pem")]
    subprocess.run(command, check=True, capture_output=True)
    return place / f"{name}.pem"


@pytest.fixture
def encrypted(tmp_path: Path) -> Iterator[Broker]:
    """A server that speaks TLS, and has a user."""
    certificate(tmp_path, "server")
    more = f"{TLS.format(tmp_path / 'server')}\n{USERS.format('hidden')}"
    found = Broker(tmp_path / "broker", more=more, user="node:hidden", scheme="tls")
    try:
        yield found.start()
    finally:
        found.close()


def test_its_certificate_is_checked(place: Place, tmp_path: Path, encrypted: Broker) -> None:
    """By `fleet.ca` alone; by another one, or the system's, nothing is sent."""
    other = certificate(tmp_path, "other")
    for ca in ("", str(other)):
        problem = problem_of(encrypted.url, ca)
        assert problem.startswith(f"Refused: tls://{encrypted.address}/***: its certificate is")
        assert "hidden" not in problem
    configure(place, encrypted.url, f", ca: '{tmp_path}/server.pem'")
    node = Node(place)
    node.make(5)
    ids = node.end()
    engine = JetStream(access_to(encrypted.url, ca=f"{tmp_path}/server.pem"), "shmperf", "tests")
    try:
        found = Everything(engine, NODE)
        wait_until(lambda: {one["data"]["id"] for one in found.take().calls} == ids, "all calls")
    finally:
        engine.close()


def test_a_password_goes_to_no_server_without_tls(tmp_path: Path, guarded: Broker) -> None:
    """Where TLS is asked for, by scheme or by `ca`: whoever is in between would read it."""
    guarded.stop()
    guarded.more += "\ntrace: true\n"
    guarded.start()
    own = certificate(tmp_path, "own")
    for url, ca in ((guarded.url.replace("nats:", "tls:"), ""), (guarded.url, str(own))):
        problem = problem_of(url, ca)
        assert "it offers no TLS" in problem
        assert problem.startswith("Refused")
    assert "CONNECT" not in guarded.log.read_text()
