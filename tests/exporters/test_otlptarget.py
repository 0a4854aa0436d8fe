"""Where OTLP goes: options and the standard's variables, and no secret in what is said of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shmperf.config.options import Otlp
from shmperf.errors import StoreError
from shmperf.exporters.otlptarget import ENDPOINT, resource_of, target_of

STANDARD = f"env:{ENDPOINT}"
ORIGIN = bytes(range(16))


def target(endpoint: str = "http://host:1", signal: str = "traces", **environ: str) -> Any:
    return target_of(signal, Otlp(endpoint=endpoint), environ)


@pytest.mark.parametrize(
    ("endpoint", "environ", "traces", "metrics"),
    [
        ("http://h:1", {}, "http://h:1/v1/traces", "http://h:1/v1/metrics"),
        ("http://h:1/", {}, "http://h:1/v1/traces", "http://h:1/v1/metrics"),
        ("https://h/a/?k=v", {}, "https://h/a/v1/traces?k=v", "https://h/a/v1/metrics?k=v"),
        # What the options say goes before what the environment says.
        ("http://h:1", {ENDPOINT: "http://e"}, "http://h:1/v1/traces", "http://h:1/v1/metrics"),
        (STANDARD, {}, "http://localhost:4318/v1/traces", "http://localhost:4318/v1/metrics"),
        (STANDARD, {ENDPOINT: "http://e"}, "http://e/v1/traces", "http://e/v1/metrics"),
        (
            STANDARD,
            {ENDPOINT: "http://e", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/as/it/is"},
            "http://t/as/it/is",
            "http://e/v1/metrics",
        ),
        ("env:MINE", {"MINE": "http://m"}, "http://m/v1/traces", "http://m/v1/metrics"),
    ],
)
def test_endpoint_is_as_the_specification_says(
    endpoint: str, environ: dict[str, str], traces: str, metrics: str
) -> None:
    """That of one signal is used as it is written, that of all with the signal's path."""
    assert target(endpoint, "traces", **environ).url == traces
    assert target(endpoint, "metrics", **environ).url == metrics


def test_headers_of_the_options_go_before_those_of_the_environment() -> None:
    """Values are percent-decoded there, and may be variables here; names have no case."""
    otlp = Otlp(endpoint="http://h", headers={"X-Key": "env:KEY", "b": "mine"})
    environ = {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=theirs, B = 2%203,c=d", "KEY": "k"}
    assert target_of("traces", otlp, environ).headers == {"x-key": "k", "b": "mine", "c": "d"}
    environ["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] = "only=this"
    assert target_of("traces", Otlp(endpoint="http://h"), environ).headers == {"only": "this"}


def test_the_rest_is_of_the_environment() -> None:
    """Milliseconds and gzip, of one signal or of all; an empty variable is none."""
    found = target(
        OTEL_EXPORTER_OTLP_TIMEOUT="2500",
        OTEL_EXPORTER_OTLP_TRACES_TIMEOUT="",
        OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_EXPORTER_OTLP_METRICS_COMPRESSION="none",
    )
    assert (found.timeout_s, found.is_gzip, found.tls) == (2.5, True, None)
    assert (target().timeout_s, target().is_gzip) == (10.0, False)


@pytest.mark.parametrize(
    ("endpoint", "variable", "value"),
    [
        ("http://h", "OTEL_EXPORTER_OTLP_TIMEOUT", "hidden"),
        ("http://h", "OTEL_EXPORTER_OTLP_TIMEOUT", "0"),
        ("http://h", "OTEL_EXPORTER_OTLP_COMPRESSION", "hidden"),
        ("http://h", "OTEL_EXPORTER_OTLP_HEADERS", "hidden"),
        ("http://h", "OTEL_EXPORTER_OTLP_HEADERS", "=hidden"),
        ("http://h", "OTEL_EXPORTER_OTLP_HEADERS", "a b=hidden"),
        ("http://h", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=hidden%0d%0ab:c"),
        ("https://h", "OTEL_EXPORTER_OTLP_CERTIFICATE", "/hidden/not/there"),
        ("https://h", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/hidden/not/there"),
        (STANDARD, ENDPOINT, "hidden"),
        (STANDARD, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "ftp://hidden"),
        (STANDARD, "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("env:MINE", "MINE", "hidden"),
        ("env:MINE", "OTHER", "hidden"),
    ],
)
def test_what_can_not_be_followed_is_named(endpoint: str, variable: str, value: str) -> None:
    """The variable, and what is expected of it; never its value."""
    with pytest.raises(StoreError) as told:
        target(endpoint, **{variable: value})
    assert "hidden" not in str(told.value)
    assert endpoint[4:] in str(told.value) if variable == "OTHER" else variable in str(told.value)


def test_header_whose_variable_is_missing_is_told() -> None:
    """Nothing is sent without it."""
    with pytest.raises(StoreError, match="env:KEY is not set"):
        target_of("traces", Otlp(endpoint="http://h", headers={"a": "env:KEY"}), {})


def test_file_that_is_no_certificate_is_told(tmp_path: Path) -> None:
    """In its variable's name."""
    path = tmp_path / "some.pem"
    path.write_text("nothing")
    with pytest.raises(StoreError, match="OTEL_EXPORTER_OTLP_CERTIFICATE: no such PEM file"):
        target("https://h", OTEL_EXPORTER_OTLP_CERTIFICATE=str(path))


def attributes(**environ: str) -> dict[str, Any]:
    """Of the resource, with nothing wrong."""
    found, fault = resource_of(environ, ORIGIN)
    assert fault is None
    return dict(found)


def test_resource_is_of_the_environment() -> None:
    """The name in its own variable goes first; storages with one name are two instances."""
    plain = attributes()
    assert plain["service.name"] == "shmperf"
    other = dict(resource_of({}, ORIGIN[::-1])[0])
    assert plain["service.instance.id"] != other["service.instance.id"]
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "service.name=a,deployment.environment=x%20y"}
    named = attributes(**environ)
    assert (named["service.name"], named["deployment.environment"]) == ("a", "x y")
    assert attributes(**environ, OTEL_SERVICE_NAME="b")["service.name"] == "b"


def test_attributes_that_can_not_be_read_are_left_out() -> None:
    """All of the variable, and said; the rest is sent."""
    environ = {"OTEL_RESOURCE_ATTRIBUTES": "a=b,hidden", "OTEL_SERVICE_NAME": "mine"}
    found, fault = resource_of(environ, ORIGIN)
    assert (dict(found)["service.name"], dict(found).get("a")) == ("mine", None)
    assert fault == "OTEL_RESOURCE_ATTRIBUTES: expected NAME=VALUE,…"
