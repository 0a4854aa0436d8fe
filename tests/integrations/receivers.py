"""Receivers of OpenTelemetry's protocol: each started, killed, and asked by its own API."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support import wait_until

COUNTERPARTS = Path(os.environ.get("SHMPERF_COUNTERPARTS", "nowhere"))
PROTOBUF = "application/x-protobuf"
# Whoever looks for news at its maker's finds nobody.
ALONE = {
    **dict.fromkeys(
        ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
    ),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "127.0.0.1,localhost"),
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PHOENIX_TELEMETRY_ENABLED": "false",
}
_PAGE = 1_000
_TRACES = 50


class Span(NamedTuple):
    """A span as its receiver shows it: ids in hexadecimal digits, kind in the receiver's words."""

    id: str
    trace: str
    parent: str | None
    name: str
    kind: str
    arguments: Any
    is_error: bool
    said: str
    attributes: dict[str, Any]


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Receiver:
    """A server of the tests' own; the same port and the same records after a kill."""

    program: str
    traces = "/v1/traces"
    is_up = "/health"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def path(cls) -> Path:
        """Where it is, if it is installed."""
        return COUNTERPARTS / cls.program

    def command(self) -> list[str]:
        """How it is started."""
        raise NotImplementedError

    def environ(self) -> dict[str, str]:
        """What it is told beside that."""
        return {}

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("SHMPERF", "OTEL_"))}
        self.directory.mkdir(exist_ok=True)
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                env={**environ, "HOME": str(self.directory), **ALONE, **self.environ()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._answers, lambda: f"{self.program}: {self._log()}")

    def kill(self) -> None:
        """Kill it with its children, as a power failure would."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def post(self, body: bytes, headers: Mapping[str, str], path: str | None = None) -> bytes:
        """Hand it a request of OTLP; what it answers."""
        return self.ask(path or self.traces, body, {"Content-Type": PROTOBUF, **headers})

    def ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        """What it answers with 200."""
        request = Request(self.url + path, body, dict(headers or {}))  # noqa: S310  our own
        try:
            with urlopen(request, timeout=60) as answer:  # noqa: S310  our own
                return bytes(answer.read())
        except HTTPError as error:
            with error:
                raise AssertionError(f"{path}: {error.code} {error.read()!r}") from None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log()
        try:
            with urlopen(self.url + self.is_up, timeout=5):  # noqa: S310  our own
                return True
        except OSError:
            return False

    def _log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-3_000:]


class TraceReceiver(Receiver):
    """One that keeps spans, in a place of ours among those of others."""

    keeps_what_it_has_taken = True

    def headers(self, place: str) -> dict[str, str]:
        """Headers that have spans put into *place*, which is made."""
        raise NotImplementedError

    def variables(self, place: str) -> dict[str, str]:
        """Variables of OpenTelemetry's that have spans put into *place*."""
        raise NotImplementedError

    def spans(self, place: str) -> list[Span]:
        """All that it has there."""
        raise NotImplementedError

    def settle(self) -> None:
        """Wait until what it has taken is shown, as far as it can be known."""

    def wait_for(self, place: str, count: int) -> list[Span]:
        """All that it has there, once that is so much and nothing more is to come."""
        found: list[Span] = []

        def are_there() -> bool:
            found[:] = self.spans(place)
            return len(found) >= count

        wait_until(are_there, lambda: f"{count} spans: {len(found)} are there")
        self.settle()
        return self.spans(place)


class Phoenix(TraceReceiver):
    """
    Arize Phoenix: a project is named by a header, or by an attribute of the resource.

    What it has taken stands in its memory first, and is lost with a kill.
    """

    program = "receivers/bin/phoenix"
    keeps_what_it_has_taken = False
    is_up = "/healthz"

    def command(self) -> list[str]:
        return [str(self.path()), "serve"]

    def environ(self) -> dict[str, str]:
        return {
            "PHOENIX_HOST": "127.0.0.1",
            "PHOENIX_PORT": str(self.port),
            "PHOENIX_GRPC_PORT": str(free_port()),
            "PHOENIX_WORKING_DIR": str(self.directory),
        }

    def headers(self, place: str) -> dict[str, str]:
        return {"x-project-name": place}

    def variables(self, place: str) -> dict[str, str]:
        return {"OTEL_RESOURCE_ATTRIBUTES": f"openinference.project.name={place}"}

    def spans(self, place: str) -> list[Span]:
        if place not in (one["name"] for one in self._pages("/v1/projects")):
            return []
        return [self._span(one) for one in self._pages(f"/v1/projects/{place}/spans")]

    def settle(self) -> None:
        mark = os.urandom(8)
        request = ExportTraceServiceRequest()
        scope = request.resource_spans.add().scope_spans.add()
        scope.spans.add(name="mark", trace_id=mark * 2, span_id=mark, end_time_unix_nano=1)
        self.post(request.SerializeToString(), self.headers("marks"))
        wait_until(
            lambda: mark.hex() in {span.id for span in self.spans("marks")},
            "what came later to be shown",
        )

    def _pages(self, path: str) -> Iterable[dict[str, Any]]:
        cursor: dict[str, str] = {}
        while True:
            found = json.loads(self.ask(f"{path}?{urlencode({'limit': _PAGE, **cursor})}"))
            yield from found["data"]
            if not found["next_cursor"]:
                return
            cursor = {"cursor": found["next_cursor"]}

    @staticmethod
    def _span(found: dict[str, Any]) -> Span:
        attributes = found["attributes"]
        prefix = "tool.parameters."
        arguments = {
            key.removeprefix(prefix): value
            for key, value in attributes.items()
            if key.startswith(prefix)
        }
        return Span(
            found["context"]["span_id"],
            found["context"]["trace_id"],
            found["parent_id"],
            found["name"],
            found["span_kind"],
            arguments or None,
            found["status_code"] == "ERROR",
            found["status_message"],
            attributes,
        )


class MLflow(TraceReceiver):
    """MLflow: an experiment is named by a header."""

    program = "receivers/bin/mlflow"

    def command(self) -> list[str]:
        return [
            *(str(self.path()), "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--workers", "1", "--backend-store-uri", f"sqlite:///{self.directory}/mlflow.db"),
            *("--artifacts-destination", f"{self.directory}/artifacts"),
        ]

    def environ(self) -> dict[str, str]:
        # Its programs are found by name.
        return {"PATH": f"{self.path().parent}:{os.environ['PATH']}"}

    def headers(self, place: str) -> dict[str, str]:
        return {"x-mlflow-experiment-id": self._experiment(place)}

    def variables(self, place: str) -> dict[str, str]:
        (header,) = self.headers(place).items()
        return {"OTEL_EXPORTER_OTLP_HEADERS": "=".join(header)}

    def spans(self, place: str) -> list[Span]:
        traces = self._traces(self._experiment(place))
        found: list[Span] = []
        for begin in range(0, len(traces), _TRACES):
            some = urlencode([("trace_ids", one) for one in traces[begin : begin + _TRACES]])
            answer = self._json(f"traces/batchGet?{some}")
            found += (self._span(span) for one in answer["traces"] for span in one["spans"])
        return found

    def _experiment(self, name: str) -> str:
        wanted = {"filter": f"name = '{name}'", "max_results": 1}
        if found := self._json("experiments/search", wanted).get("experiments"):
            return str(found[0]["experiment_id"])
        return str(self._json("experiments/create", {"name": name})["experiment_id"])

    def _traces(self, experiment: str) -> list[str]:
        where = [
            {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": experiment}},
        ]
        wanted: dict[str, Any] = {"locations": where, "max_results": 500}
        found: list[str] = []
        while True:
            answer = self._json("traces/search", wanted)
            found += (one["trace_id"] for one in answer.get("traces", ()))
            if not (token := answer.get("next_page_token")):
                return found
            wanted["page_token"] = token

    def _json(self, what: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        version = "2.0" if what.startswith("experiments") else "3.0"
        body = None if wanted is None else json.dumps(wanted).encode()
        answer = self.ask(
            f"/api/{version}/mlflow/{what}", body, {"Content-Type": "application/json"}
        )
        found: dict[str, Any] = json.loads(answer)
        return found

    @staticmethod
    def _span(found: dict[str, Any]) -> Span:
        attributes = {one["key"]: _plain(one["value"]) for one in found["attributes"]}
        status = found.get("status", {})
        return Span(
            _hexed(found["span_id"]),
            _hexed(found["trace_id"]),
            _hexed(found["parent_span_id"]) if found.get("parent_span_id") else None,
            found["name"],
            attributes["mlflow.spanType"],
            attributes.get("mlflow.spanInputs"),
            status.get("code") in (2, "STATUS_CODE_ERROR"),
            status.get("message", ""),
            attributes,
        )


class VictoriaMetrics(Receiver):
    """VictoriaMetrics: it makes Prometheus' names of OpenTelemetry's, and answers its queries."""

    program = "trixie/usr/bin/victoria-metrics"

    @property
    def endpoint(self) -> str:
        """What OTLP is sent to."""
        return f"{self.url}/opentelemetry"

    def command(self) -> list[str]:
        return [
            *(str(self.path()), f"-httpListenAddr=127.0.0.1:{self.port}"),
            *("-storageDataPath=records", "-opentelemetry.usePrometheusNaming"),
            # Otherwise what is newer than half a minute is not shown.
            *("-search.latencyOffset=0s", "-loggerLevel=WARN"),
        ]

    def value(self, query: str) -> float | None:
        """The one value that a query finds; None where there is none."""
        answer = self.ask(f"/api/v1/query?{urlencode({'query': query, 'nocache': 1})}")
        found = json.loads(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else None


def _hexed(text: str) -> str:
    return base64.b64decode(text).hex()


def _plain(value: dict[str, Any]) -> Any:
    """A value of OpenTelemetry's as Python has it."""
    ((kind, held),) = value.items() if value else (("string_value", ""),)
    if kind == "kvlist_value":
        return {one["key"]: _plain(one["value"]) for one in held["values"]}
    if kind == "array_value":
        return [_plain(one) for one in held["values"]]
    return int(held) if kind == "int_value" else held
