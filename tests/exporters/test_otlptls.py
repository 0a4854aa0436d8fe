"""OTLP over TLS: certificates are checked, ours is shown, and what is wrong with one is told."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.config.options import Otlp
from shmperf.errors import StoreError
from shmperf.exporters.otlpbackend import Backend, Verdict
from shmperf.exporters.otlptarget import target_of
from shmperf.session.messages import SidecarReport
from tests.support import missing

from .receiver import Receiver, receiving

if shutil.which("openssl") is None:
    missing("openssl is not installed: .ci/counterparts does it")

CERTIFICATE = "OTEL_EXPORTER_OTLP_CERTIFICATE"
OWN, KEY = "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"


class Pair:
    """A certificate that signs itself, and its key."""

    def __init__(self, place: Path, name: str, *flags: str) -> None:
        self.certificate, self.key = place / f"{name}.pem", place / f"{name}.key"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", *flags]
        command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
        command += ["-keyout", str(self.key), "-out", str(self.certificate)]
        subprocess.run(command, check=True, capture_output=True)

    @property
    def server(self) -> ssl.SSLContext:
        """For a server with it."""
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(self.certificate, self.key)
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where keys are."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def localhost(place: Path) -> Pair:
    """Of the server."""
    return Pair(place, "localhost", "-nodes")


@pytest.fixture(scope="module")
def client(place: Path) -> Pair:
    """Ours."""
    return Pair(place, "client", "-nodes")


@pytest.fixture
def server(localhost: Pair) -> Iterator[Receiver]:
    """One that speaks TLS."""
    with receiving(tls=localhost.server) as found:
        yield found


def sent(url: str, **environ: str) -> tuple[Verdict, SidecarReport]:
    """What becomes of a request."""
    report = SidecarReport()
    backend = Backend(target_of("traces", Otlp(endpoint=url), environ), "spans", report)
    verdict, _ = backend.send(b"", 1)
    backend.close()
    return verdict, report


def url_of(server: Receiver, host: str = "localhost") -> str:
    return f"https://{host}:{server.server_port}"


def test_who_is_trusted_is_sent_to(server: Receiver, localhost: Pair) -> None:
    """With the certificate that the standard's variable names."""
    verdict, report = sent(url_of(server), **{CERTIFICATE: str(localhost.certificate)})
    assert (verdict, report.problem) == (Verdict.TAKEN, None)
    assert [path for path, _, _ in server.asked] == ["/v1/traces"]


def test_wrong_certificates_get_nothing(server: Receiver, localhost: Pair, client: Pair) -> None:
    """One that nobody has signed, one of another, one for another host: told, and tried again."""
    for url, environ in (
        (url_of(server), {}),
        (url_of(server), {CERTIFICATE: str(client.certificate)}),
        (url_of(server, "127.0.0.1"), {CERTIFICATE: str(localhost.certificate)}),
    ):
        verdict, report = sent(url, **environ)
        assert verdict is Verdict.LATER
        assert "certificate is refused" in (report.problem or "")
    assert server.asked == []


def test_server_without_tls_is_told() -> None:
    """And not spoken to in the clear."""
    with receiving() as plain:
        verdict, report = sent(url_of(plain))
        assert verdict is Verdict.LATER
        assert "no TLS" in (report.problem or "")
        assert plain.asked == []


def test_own_certificate_is_shown(localhost: Pair, client: Pair) -> None:
    """To who asks for one."""
    asking = localhost.server
    asking.verify_mode = ssl.CERT_REQUIRED
    asking.load_verify_locations(client.certificate)
    environ = {CERTIFICATE: str(localhost.certificate)}
    with receiving(tls=asking) as server:
        verdict, _ = sent(url_of(server), **environ)
        assert (verdict, server.asked) == (Verdict.LATER, [])
        environ |= {OWN: str(client.certificate), KEY: str(client.key)}
        verdict, report = sent(url_of(server), **environ)
        assert (verdict, report.problem) == (Verdict.TAKEN, None)


def test_key_with_a_password_asks_nobody(place: Path) -> None:
    """A sidecar has no terminal to ask on."""
    locked = Pair(place, "locked", "-passout", "pass:word")
    environ = {OWN: str(locked.certificate), KEY: str(locked.key)}
    with pytest.raises(StoreError, match="CLIENT_CERTIFICATE"):
        target_of("traces", Otlp(endpoint="https://host"), environ)
