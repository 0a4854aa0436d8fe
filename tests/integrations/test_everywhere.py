"""One program, recorded once: its calls stand in everything that a team may have, all of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.exporters.scraping import free_port
from tests.support import Place, missing, wait_until

from .receivers import MLflow, Phoenix
from .test_prometheus import VERSIONS, Server
from .test_receivers import requests_in, searching

if not Phoenix.path().exists():
    missing("SHMPERF_COUNTERPARTS names no directory that .ci/counterparts has filled")

SEARCHES = 300
CALLS = SEARCHES * 3


@pytest.fixture
def phoenix(place: Place, tmp_path: Path) -> Iterator[Phoenix]:
    """One that goes before the test's place looks for what was left behind."""
    found = Phoenix(tmp_path / "phoenix")
    try:
        found.start()
        yield found
    finally:
        found.kill()


@pytest.fixture
def mlflow(place: Place, tmp_path: Path) -> Iterator[MLflow]:
    """The same."""
    found = MLflow(tmp_path / "mlflow")
    try:
        found.start()
        yield found
    finally:
        found.kill()


def recorded(place: Place, phoenix: Phoenix, port: int) -> subprocess.Popen[str]:
    """A program that has made its calls and stays: spans go to Phoenix, metrics are at *port*."""
    otlp = {"endpoint": phoenix.url, "metrics": False, "arguments": True}
    export = {"otlp": otlp, "prometheus": {"listen": f"127.0.0.1:{port}"}}
    options = {"default_perf_points": -1, "export": export}
    place.write("config/tool_perf_limits.yaml", json.dumps(options))
    program = place.start_program("export/searches", **phoenix.variables("tests"))
    searching(program, SEARCHES)
    return program


def test_one_program_stands_everywhere(place: Place, phoenix: Phoenix, mlflow: MLflow) -> None:
    """The same calls, and as many as in the statistics."""
    port = free_port()
    program = recorded(place, phoenix, port)
    prometheus = Server(place, VERSIONS["2"], port)
    total = "sum(shmperf_calls_total)"
    wait_until(lambda: prometheus.value(total) == CALLS, "all calls in Prometheus")
    errors = prometheus.value("sum(shmperf_errors_total)")
    in_phoenix = {span.id for span in phoenix.wait_for("tests", CALLS)}
    prometheus.process.terminate()
    place.finish(prometheus.process)
    place.finish(program)
    place.wait_for_end()

    stats = place.stats()
    assert stats["total_calls"] == CALLS
    assert errors == sum(one["errors"] for one in stats["tool_stats"].values()) > 0
    ids = {*place.ids("search"), *place.ids("fetch")}
    assert len(ids) == CALLS
    assert in_phoenix == ids

    place.ask("export", "otlp", "-o", "calls.pb")
    for request in requests_in(place.cwd / "calls.pb"):
        mlflow.post(request, mlflow.headers("tests"))
    assert {span.id for span in mlflow.wait_for("tests", CALLS)} == ids

    (row,) = place.ask("sql", "SELECT count(*) AS calls, count(DISTINCT id) AS ids FROM calls")
    assert row == {"calls": CALLS, "ids": CALLS}
    place.ask("export", "parquet", "-o", "calls.parquet")
    with duckdb.connect() as database:
        rows = database.execute(
            "SELECT id FROM read_parquet($1)", [str(place.cwd / "calls.parquet")]
        ).fetchall()
    assert {call_id for (call_id,) in rows} == ids
    place.ask("export", "chrome", "-o", "calls.json")
    events = json.loads((place.cwd / "calls.json").read_text())["traceEvents"]
    assert sum(event["ph"] in "Xb" for event in events) == CALLS
