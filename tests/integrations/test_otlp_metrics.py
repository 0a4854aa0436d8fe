"""VictoriaMetrics takes the metrics over OTLP: what it computes is what the statistics say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Place, missing, wait_until

from .receivers import VictoriaMetrics

if not VictoriaMetrics.path().exists():
    missing("SHMPERF_COUNTERPARTS names no directory that .ci/counterparts has filled")

DURATION = "gen_ai_execute_tool_duration_seconds"


@pytest.fixture
def server(place: Place, tmp_path: Path) -> Iterator[VictoriaMetrics]:
    """A VictoriaMetrics of the test's own, which the configuration names."""
    found = VictoriaMetrics(tmp_path / "victoria")
    otlp = {"endpoint": found.endpoint, "interval_seconds": 1, "spans": False}
    place.write("config/tool_perf_limits.yaml", json.dumps({"export": {"otlp": otlp}}))
    try:
        found.start()
        yield found
    finally:
        found.kill()


def test_metrics_are_those_of_the_statistics(place: Place, server: VictoriaMetrics) -> None:
    """Counts exactly, failures by type, quantiles nearly; after a kill of the server as before."""
    program = place.start_program("export/paced", "8000")
    assert program.stdout is not None
    program.stdout.readline()

    def all_calls() -> float | None:
        return server.value("sum(shmperf_calls_total)")

    wait_until(lambda: all_calls() == 8_000, lambda: f"8000 calls: {all_calls()} are there")
    truth = place.ask("stats", "search")
    assert server.value(f'sum({DURATION}_bucket{{error_type="KeyError"}})') == truth["errors"]
    for q, key in ((0.5, "p50_s"), (0.95, "p95_s"), (0.99, "p99_s")):
        # Not their increase: the server guesses whether a first sample counts from nothing.
        buckets = f"sum({DURATION}_bucket) by (gen_ai_tool_name, vmrange)"
        found = server.value(f"histogram_quantile({q}, {buckets})")
        assert found == pytest.approx(truth[key], rel=0.03)
    server.kill()
    server.start()
    wait_until(lambda: all_calls() == 8_000, lambda: f"8000 calls again: {all_calls()} are there")
    place.finish(program)
