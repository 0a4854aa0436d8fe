"""Real servers of Prometheus scrape a session: what they compute is what the statistics say."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
import yaml

from tests.exporters.scraping import OPEN, asked, free_port
from tests.support import Place, missing, needs, outputs, wait_until

needs("prometheus-client")
if shutil.which("prometheus") is None:
    missing("Prometheus is not installed: .ci/counterparts does it")

CONFIG = Path(__file__).parents[2] / "config"
COUNTERPARTS = Path(os.environ.get("SHMPERF_COUNTERPARTS", "nowhere"))
# So many that the hundredth slowest and its neighbours lie close to each other.
CALLS = 8_000
DURATION = "gen_ai_execute_tool_duration_seconds"


class Version(NamedTuple):
    """Where its programs are, and what of the scrape's configuration it alone knows."""

    programs: Path | None
    keys: dict[str, Any]

    def program(self, name: str) -> str:
        """A path; the test is skipped where it is not installed."""
        if self.programs is None:
            return name
        if not self.programs.is_dir():
            if os.environ.get("SHMPERF_TESTS_NO_SKIP") == "1":
                pytest.fail(f"{self.programs}: .ci/counterparts has put nothing there")
            pytest.skip("SHMPERF_COUNTERPARTS names no directory with a Prometheus 3")
        return str(self.programs / name)


PROTOCOLS = ["PrometheusProto", "OpenMetricsText1.0.0", "PrometheusText0.0.4"]
VERSIONS = {
    "2": Version(None, {}),
    "3": Version(
        COUNTERPARTS / "sid/usr/bin",
        {"always_scrape_classic_histograms": True, "scrape_protocols": PROTOCOLS},
    ),
}
of_each_version = pytest.mark.parametrize("version", VERSIONS.values(), ids=VERSIONS)


class Server:
    """A Prometheus of the test's own, by the configuration in config/."""

    def __init__(self, place: Place, version: Version, target: int) -> None:
        self.port = free_port()
        found = yaml.safe_load((CONFIG / "prometheus.yml").read_text())
        found["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        (scrape,) = found["scrape_configs"]
        scrape.update(version.keys, static_configs=[{"targets": [f"127.0.0.1:{target}"]}])
        config = place.write("prometheus.yml", yaml.safe_dump(found))
        shutil.copy(CONFIG / "prometheus-rules.yml", place.cwd)
        self.process = place.start(
            version.program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={place.cwd}/tsdb",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=error",
            "--enable-feature=native-histograms,exemplar-storage",
        )
        wait_until(lambda: self.answer("query", query="up") is not None, "Prometheus")

    def answer(self, kind: str, **parameters: str) -> Any:
        """What it says to a question; None while it says nothing."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{kind}?{urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]
        except OSError:
            return None

    def ask(self, query: str) -> list[tuple[dict[str, str], float]]:
        """What a query finds: labels and value; of a histogram its count."""
        found = self.answer("query", query=query) or {"result": []}
        return [
            (
                row["metric"],
                float(row["value"][1] if "value" in row else row["histogram"][1]["count"]),
            )
            for row in found["result"]
        ]

    def value(self, query: str) -> float | None:
        found = self.ask(query)
        return found[0][1] if found else None

    def exemplars(self) -> list[dict[str, Any]]:
        """Those of all durations."""
        now_s = time.time()
        found = self.answer(
            "query_exemplars", query=DURATION, start=str(now_s - 600), end=str(now_s + 60)
        )
        return [one for series in found or () for one in series["exemplars"]]


def dashboard_queries() -> list[str]:
    """Every query of the dashboard, of all tools and the last minute."""
    panels = json.loads((CONFIG / "grafana-dashboard.json").read_text())["panels"]
    found = [target["expr"] for panel in panels for target in panel["targets"]]
    for name, value in (("$tool", ".+"), ("$__rate_interval", "1m"), ("$__range", "1m")):
        found = [query.replace(name, value) for query in found]
    assert not [query for query in found if "$" in query]
    return found


def recorded() -> list[str]:
    """The names of what the rules record."""
    groups = yaml.safe_load((CONFIG / "prometheus-rules.yml").read_text())["groups"]
    return [rule["record"] for group in groups for rule in group["rules"] if "record" in rule]


def listening(place: Place) -> int:
    """The port of a session's endpoint, once there is one."""
    port = free_port()
    text = f"{{export: {{prometheus: {{listen: '127.0.0.1:{port}'}}}}, default_perf_points: -1}}\n"
    place.write("config/tool_perf_limits.yaml", text)
    return port


@of_each_version
def test_what_is_computed_is_what_was_recorded(place: Place, version: Version) -> None:
    """Quantiles of native histograms within 3 %, counts exactly; every query finds something."""
    port = listening(place)
    server = Server(place, version, port)
    program = place.start_program("export/paced", str(CALLS))
    truth: dict[str, Any] = {}

    def agrees() -> bool:
        truth.update(place.ask("stats", "search"))
        return server.value("sum(shmperf_calls_total)") == truth["count"] == CALLS

    wait_until(agrees, "what Prometheus has scraped to be all calls")
    failed = server.ask(f'histogram_count({DURATION}{{error_type="KeyError"}})')
    assert [value for _, value in failed] == [truth["errors"]]
    assert server.value(f"sum(histogram_count({DURATION}))") == truth["count"]
    for q, key in ((0.5, "p50_s"), (0.95, "p95_s"), (0.99, "p99_s")):
        found = server.value(f"histogram_quantile({q}, sum({DURATION}))")
        assert found == pytest.approx(truth[key], rel=0.03)
    # Rates are of what comes between two scrapes.
    second = place.start_program("export/paced", "800")
    for query in [*dashboard_queries(), *recorded()]:
        wait_until(lambda query=query: server.ask(query), f"an answer to {query}")
    exemplars = wait_until(server.exemplars, "an exemplar")
    kept = place.shmperf("export", "csv")
    assert all(one["labels"]["span_id"] in kept for one in exemplars)
    server.process.terminate()
    place.finish(server.process)
    place.finish(second)
    place.finish(program)


@of_each_version
def test_what_is_in_config_is_checked(version: Version) -> None:
    """Configuration and rules are as Prometheus wants them, and rules do what their tests say."""
    promtool = version.program("promtool")
    for command in ("check config", "check rules", "test rules"):
        name = {"check config": "prometheus", "check rules": "prometheus-rules"}
        path = CONFIG / f"{name.get(command, 'prometheus-rules-test')}.yml"
        ran = subprocess.run(
            [promtool, *command.split(), str(path)], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


@of_each_version
def test_promtool_finds_nothing_to_mend(place: Place, version: Version) -> None:
    """Names, types and help texts are as Prometheus wants them."""
    port = listening(place)
    program = place.start_program("export/paced", "80")
    wait_until(lambda: f"{DURATION}_bucket" in asked(port)[1], "the endpoint")
    promtool = place.start(version.program("promtool"), "check", "metrics")
    text = asked(port)[1]
    assert (*outputs(promtool, text), promtool.returncode) == ("", "", 0)
    assert f'{DURATION}_bucket{{error_type="",gen_ai_tool_name="search",le="+Inf"}}' in text
    assert asked(port, Accept=OPEN)[1].endswith("# EOF\n")
    place.finish(program)
