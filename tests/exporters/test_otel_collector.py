"""The configuration for an OpenTelemetry Collector: what of it can be checked without one."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from shmperf.config.options import expected_of
from tests.support import DEADLINE_S

PATH = Path(__file__).parents[2] / "config" / "otel-collector.yaml"
KINDS = ("receivers", "processors", "exporters")
# Of the structs that the Collector 0.152 reads; it refuses keys that it does not know.
KEYS = {
    "otlp": {"protocols"},
    "http": {"endpoint", "tls", "cors", "max_request_body_size", "traces_url_path"},
    "memory_limiter": {"check_interval", "limit_mib", "spike_limit_mib", "limit_percentage"},
    "otlp_http": {"endpoint", "headers", "compression", "tls", "sending_queue", "retry_on_failure"},
    "sending_queue": {"enabled", "num_consumers", "queue_size", "block_on_overflow", "batch"},
    "retry_on_failure": {"enabled", "initial_interval", "max_interval", "max_elapsed_time"},
    "service": {"pipelines", "extensions", "telemetry"},
    "pipelines": {"traces", "metrics"},
    "traces": set(KINDS),
    "metrics": set(KINDS),
}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    """The file as it is read."""
    parsed: dict[str, Any] = yaml.safe_load(PATH.read_text())
    return parsed


def unknown_keys(name: str, value: Any) -> list[str]:
    """Keys below *name* that the Collector does not know, each behind its section."""
    if not isinstance(value, dict) or name == "headers":
        return []
    kind = name.partition("/")[0]
    odd = [f"{name}: {key}" for key in value if key not in KEYS.get(kind, value)]
    return odd + [more for key, below in value.items() for more in unknown_keys(key, below)]


def test_keys_are_those_that_a_collector_knows(found: dict[str, Any]) -> None:
    """As they were written off from it: a slip is found here and not at its start."""
    assert set(found) == {*KINDS, "service"}
    assert not unknown_keys("", found)
    assert unknown_keys("memory_limiter", {"limit_mb": 1}) == ["memory_limiter: limit_mb"]


def test_pipelines_have_what_is_defined_and_nothing_else(found: dict[str, Any]) -> None:
    """Spans and metrics; a component that stands in none would be refused or be of no use."""
    pipelines = found["service"]["pipelines"]
    assert set(pipelines) == {"traces", "metrics"}
    for kind in KINDS:
        assert {name for one in pipelines.values() for name in one[kind]} == set(found[kind])


def test_nothing_waits_in_the_collector(found: dict[str, Any]) -> None:
    """It acknowledges what the backend has: no batch, no queue, no retries of its own."""
    assert not any(name.startswith("batch") for name in found["processors"])
    for exporter in found["exporters"].values():
        assert not exporter["sending_queue"]["enabled"]
        assert not exporter["retry_on_failure"]["enabled"]


def test_endpoints_are_those_of_the_comment(found: dict[str, Any]) -> None:
    """It listens where its first lines send; each variable is told, with its default."""
    comment = PATH.read_text().partition("\nreceivers:")[0]
    (listens,) = (one["endpoint"] for one in found["receivers"]["otlp"]["protocols"].values())
    sent = set(re.findall(r"(?:--otlp |endpoint: ')(http://[^ ']+)", comment))
    assert {urlsplit(one).netloc for one in sent} == {listens}
    for exporter in found["exporters"].values():
        (written,) = re.findall(r"^\$\{env:(\w+):-(.+)\}$", exporter["endpoint"])
        name, default = written
        assert re.search(rf"{name} +URL before /v1/\w+ +{re.escape(default)} ", comment)
        assert not expected_of(default)


def test_a_collector_takes_it() -> None:
    """Where one is installed it says so itself; no registry that CI reaches has one."""
    program = shutil.which("otelcol") or shutil.which("otelcol-contrib")
    if program is None:
        pytest.skip("there is no otelcol here")
    told = subprocess.run(
        [program, "validate", "--config", str(PATH)],
        check=False,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert told.returncode == 0, told.stderr
