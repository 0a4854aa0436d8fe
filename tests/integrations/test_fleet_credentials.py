"""A node with a .creds file, at a real server that knows accounts by their signed tokens."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from shmperf.fleet.access import access_to
from shmperf.fleet.engine import Refused
from shmperf.fleet.jetstream import JetStream
from tests.fleet.broker import Broker, needs_broker
from tests.fleet.node import NODE, Node, configure
from tests.fleet.taking import Everything
from tests.support import Place, needs, wait_until

needs("nkeys")
needs_broker()

ALL = dict.fromkeys(("subs", "data", "payload", "imports", "exports", "conn", "leaf"), -1)
STORAGE = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class Key:
    """A pair of keys, and what it signs."""

    def __init__(self, kind: str) -> None:
        import nkeys

        kinds = {"O": "OPERATOR", "A": "ACCOUNT", "U": "USER"}
        prefix = getattr(nkeys, f"PREFIX_BYTE_{kinds[kind]}")
        self.seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = bytes(self._pair.public_key).decode()

    def token(self, subject: str, **claims: Any) -> str:
        """A JWT about *subject*, as NATS has them."""
        payload = {"iss": self.public, "sub": subject, "name": "tests", "iat": 1_700_000_000}
        payload["nats"] = {"version": 2, **claims}
        payload["jti"] = sha256(json.dumps(payload).encode()).hexdigest()
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        signed = ".".join(_encoded(json.dumps(part).encode()) for part in (head, payload))
        return f"{signed}.{_encoded(self._pair.sign(signed.encode()))}"


def _encoded(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def creds(path: Path, token: str, seed: bytes) -> Path:
    """What `nsc generate creds` writes."""
    path.write_text(
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{seed.decode()}\n------END USER NKEY SEED------\n"
    )
    return path


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[tuple[Broker, Path]]:
    """A server with an operator and an account; a user's credentials."""
    operator, system, account, user = (Key(kind) for kind in "OAAU")
    # That of the servers themselves may store nothing.
    limits = {system: ALL, account: ALL | STORAGE}
    tokens = {
        key.public: operator.token(key.public, limits=most | {"wildcards": True}, type="account")
        for key, most in limits.items()
    }
    preload = "\n".join(f"  {public}: {token}" for public, token in tokens.items())
    more = (
        f"operator: {operator.token(operator.public, type='operator')}\n"
        f"system_account: {system.public}\nresolver: MEMORY\nresolver_preload {{\n{preload}\n}}\n"
    )
    nobody = {"type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
    path = creds(tmp_path / "node.creds", account.token(user.public, **nobody), user.seed)
    found = Broker(tmp_path / "broker", more=more)
    try:
        yield found.start(), path
    finally:
        found.close()


def test_a_node_is_who_its_credentials_say(place: Place, signed: tuple[Broker, Path]) -> None:
    """It publishes with them; the seed is nowhere but in its file."""
    broker, path = signed
    configure(place, broker.url, ", credentials: 'env:CREDS'")
    node = Node(place, CREDS=str(path))
    node.make(5)
    ids = node.end()
    engine = JetStream(access_to(broker.url, str(path)), "shmperf", "tests")
    try:
        found = Everything(engine, NODE)
        wait_until(lambda: {one["data"]["id"] for one in found.take().calls} == ids, "all calls")
    finally:
        engine.close()
    seed = path.read_bytes().split(b"\n")[5]
    for left in [*place.storage.rglob("*"), *place.runtime.rglob("*.log")]:
        assert left.is_dir() or seed not in left.read_bytes(), left


def test_credentials_of_nobody_are_told(tmp_path: Path, signed: tuple[Broker, Path]) -> None:
    """Another user's, a file that holds none, and none at all."""
    broker, path = signed
    other = Key("U")
    token = path.read_text().split("\n")[1]
    for found in (
        creds(tmp_path / "other.creds", token, other.seed),
        creds(tmp_path / "none.creds", "", b""),
        None,
    ):
        engine = JetStream(access_to(broker.url, str(found or "")), "shmperf", "tests")
        try:
            with pytest.raises(Refused) as caught:
                engine.open()
        finally:
            engine.close()
        assert other.seed.decode() not in str(caught.value)
