"""
Where OTLP goes, and how: of the options, and of the environment as OpenTelemetry specifies it.

    endpoint    a URL of the options: <URL>/v1/traces, <URL>/v1/metrics
                env:OTEL_EXPORTER_OTLP_ENDPOINT: the variable of the signal as it is written, else
                that one as a URL of the options, else http://localhost:4318
                env:NAME: another variable, as a URL of the options
    headers     OTEL_EXPORTER_OTLP_HEADERS, and those of the options, which go before them
    the rest    OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds), _COMPRESSION, _CERTIFICATE,
                _CLIENT_CERTIFICATE, _CLIENT_KEY

Each variable may be one of the signal alone, OTEL_EXPORTER_OTLP_TRACES_HEADERS, which goes before
that of all. An empty one counts as not set. The source is the specification's page "OpenTelemetry
Protocol Exporter"; resource attributes are those of "Resource SDK", and what tells this storage's
series from those of others.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit
from uuid import UUID

from shmperf.config.destinations import masked
from shmperf.config.options import Otlp, expected_of
from shmperf.errors import StoreError
from shmperf.files import reason_of

from .otlp import Attribute

__all__ = ["ENDPOINT", "Target", "resource_of", "target_of"]

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_PREFIX = "OTEL_EXPORTER_OTLP_"
_DEFAULT = "http://localhost:4318"
_TIMEOUT_MS, _MOST_TIMEOUT_MS = 10_000, 600_000
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t -~]*")


class Target(NamedTuple):
    """One signal's: *url* with its path, *shown* without what may be secret in it."""

    url: str
    shown: str
    headers: Mapping[str, str]
    timeout_s: float
    is_gzip: bool
    tls: ssl.SSLContext | None


def target_of(signal: str, otlp: Otlp, environ: Mapping[str, str]) -> Target:
    """
    Where ``traces`` or ``metrics`` go.

    StoreError for what can't be followed: it says which option or variable, never what is in it.
    """
    variables = _Variables(signal, environ)
    url = _url(signal, otlp.endpoint, variables)
    return Target(
        url,
        masked(url),
        {**variables.headers(), **_own_headers(otlp, environ)},
        variables.timeout_s(),
        variables.is_gzip(),
        variables.tls() if url.lower().startswith("https:") else None,
    )


class _Variables:
    """What the environment says of one signal."""

    def __init__(self, signal: str, environ: Mapping[str, str]) -> None:
        self.environ = environ
        self._signal = signal.upper()

    def __getitem__(self, name: str) -> str:
        """The value, empty where there is none."""
        return self.environ.get(self.name_of(name), "").strip()

    def name_of(self, name: str) -> str:
        """The variable that counts."""
        own = f"{_PREFIX}{self._signal}_{name}"
        return own if self.environ.get(own, "").strip() else _PREFIX + name

    def headers(self) -> dict[str, str]:
        """As W3C Baggage writes pairs, names in lower case."""
        found = {}
        for name, value in _pairs(self["HEADERS"], self.name_of("HEADERS")):
            if not _HEADER.fullmatch(name) or not _VALUE.fullmatch(value):
                raise StoreError(f"{self.name_of('HEADERS')}: expected NAME=VALUE,… in ASCII")
            found[name.lower()] = value
        return found

    def timeout_s(self) -> float:
        """How long a request may take."""
        text = self["TIMEOUT"] or str(_TIMEOUT_MS)
        if not re.fullmatch("[0-9]{1,9}", text) or not int(text):
            raise StoreError(f"{self.name_of('TIMEOUT')}: expected milliseconds, above 0")
        return min(int(text), _MOST_TIMEOUT_MS) / 1000

    def is_gzip(self) -> bool:
        """True where what is sent is to be compressed."""
        text = self["COMPRESSION"].lower()
        if text not in ("", "none", "gzip"):
            raise StoreError(f"{self.name_of('COMPRESSION')}: expected gzip or none")
        return text == "gzip"

    def tls(self) -> ssl.SSLContext:
        """Whom to trust, and as whom to come."""
        trusted, own, key = (
            self[name] for name in ("CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY")
        )
        name = "CERTIFICATE"
        try:
            context = ssl.create_default_context(cafile=trusted or None)
            name = "CLIENT_CERTIFICATE"
            if own:
                # Never asked on a terminal: the empty one opens no key that has a password.
                context.load_cert_chain(own, key or None, password="")
        except (OSError, ValueError) as error:
            reason = "no such PEM file" if isinstance(error, ssl.SSLError) else _reason(error)
            raise StoreError(f"{self.name_of(name)}: {reason}") from None
        return context


def _reason(error: Exception) -> str:
    return reason_of(error) if isinstance(error, OSError) else "can't be read"


def _url(signal: str, endpoint: str, variables: _Variables) -> str:
    if endpoint == f"env:{ENDPOINT}":
        return _standard_url(signal, variables)
    if endpoint.startswith("env:"):
        found = variables.environ.get(endpoint[4:], "").strip()
        if not found:
            raise StoreError(f"{endpoint} is not set")
        return _with_path(_checked(found, endpoint), signal)
    return _with_path(endpoint, signal)


def _standard_url(signal: str, variables: _Variables) -> str:
    protocol = variables["PROTOCOL"]
    if protocol not in ("", "http/protobuf"):
        raise StoreError(f"{variables.name_of('PROTOCOL')}: expected http/protobuf")
    name, url = variables.name_of("ENDPOINT"), variables["ENDPOINT"] or _DEFAULT
    checked = _checked(url, name)
    return _with_path(checked, signal) if name == ENDPOINT else checked


def _checked(url: str, name: str) -> str:
    if expected := expected_of(url):
        raise StoreError(f"{name}: expected {expected}")
    return url


def _with_path(url: str, signal: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/v1/{signal}"))


def _own_headers(otlp: Otlp, environ: Mapping[str, str]) -> dict[str, str]:
    found = {}
    for name, value in otlp.headers.items():
        if value.startswith("env:"):
            held = environ.get(value[4:], "").strip()
            if not held:
                raise StoreError(f"{value} is not set")
            if not _VALUE.fullmatch(held):
                raise StoreError(f"{value}: expected one line of ASCII")
            value = held  # noqa: PLW2901  what it stands for
        found[name.lower()] = value
    return found


def _pairs(text: str, name: str) -> list[tuple[str, str]]:
    """Pairs of ``key=value,key=value``, values percent-encoded; StoreError for others."""
    found = []
    for part in filter(None, map(str.strip, text.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise StoreError(f"{name}: expected NAME=VALUE,…")
        found.append((unquote(key.strip()), unquote(value.strip())))
    return found


def resource_of(
    environ: Mapping[str, str], origin: bytes
) -> tuple[tuple[Attribute, ...], str | None]:
    """
    Who it is that sends: attributes of the environment, and those that every sender has.

    A variable that can't be read is left out as a whole, as the specification says; and what is
    wrong with it, None for nothing.
    """
    found: dict[str, str | int] = {
        "service.name": "shmperf",
        # Counters of two storages are two series, also where all the rest is the same.
        "service.instance.id": str(UUID(bytes=origin)),
        "telemetry.sdk.name": "shmperf",
        "telemetry.sdk.language": "python",
        "telemetry.sdk.version": _version(),
    }
    variable, fault = "OTEL_RESOURCE_ATTRIBUTES", None
    try:
        found.update(_pairs(environ.get(variable, ""), variable))
    except StoreError as error:
        fault = str(error)
    if name := environ.get("OTEL_SERVICE_NAME", "").strip():
        found["service.name"] = name
    return tuple(found.items()), fault


def _version() -> str:
    try:
        return version("shmperf")
    except PackageNotFoundError:
        # Found by its path, and not installed.
        return "unknown"
