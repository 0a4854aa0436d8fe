"""Real programs under ``shmperf run --otlp``: what a receiver has is what the statistics say."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

from tests.exporters.receiver import Receiver, attributes, receiving
from tests.rounds import Rounds
from tests.support import PYTHON, Place, program_text, wait_until

CALLS = 200
DURATION = "gen_ai.execute_tool.duration"
KEEP_ALL = "default_perf_points: -1\n"
CONFIG = "config/tool_perf_limits.yaml"


def run(place: Place, *flags: str, **environ: str) -> str:
    """The command to its end; what it said on standard error."""
    place.write(CONFIG, KEEP_ALL)
    place.write("asked.py", program_text("export/asked"))
    program = place.start_module("run", *flags, "--", PYTHON, "asked.py", str(CALLS), **environ)
    place.finish(program)
    return str(program.error_text)  # type: ignore[attr-defined]


def test_every_call_is_a_span(place: Place) -> None:
    """When `run` returns, with parent and failure; without a URL where the environment says."""
    with receiving() as server:
        run(place, "--otlp", OTEL_EXPORTER_OTLP_ENDPOINT=server.url, OTEL_SERVICE_NAME="mine")
    assert len(server.spans()) == place.stats()["total_calls"] == CALLS + CALLS * 9 // 10
    assert set(server.ids().values()) == {1}
    spans = {span.span_id: span for span in server.spans()}
    inner = [span for span in spans.values() if span.name == "execute_tool fetch"]
    above = [spans[span.parent_span_id] for span in inner]
    assert {span.name for span in above} == {"execute_tool search"}
    assert [span.trace_id for span in above] == [span.trace_id for span in inner]
    failed = [span for span in spans.values() if span.status.code]
    assert {attributes(span)["error.type"] for span in failed} == {"KeyError"}
    assert len(failed) == CALLS // 10
    (resource,) = {str(m.resource_spans[0].resource) for m in server.of("/v1/traces")}
    assert "mine" in resource
    assert "secret" not in str(server.spans())


def test_backend_that_hangs_keeps_no_command_for_ever(place: Place) -> None:
    """What it does not take in the time that a sidecar has to finish, the next run sends."""
    with receiving() as server:
        server.most_in_time = 0
        run(place, "--otlp", server.url)
        assert server.spans() == []
        server.most_in_time = 1 << 30
        run(place, "--otlp", server.url)
    assert len(server.ids()) == place.stats()["total_calls"] == 2 * (CALLS + CALLS * 9 // 10)
    assert set(server.ids().values()) == {1}


def test_metrics_are_those_of_the_statistics(place: Place) -> None:
    """Counts exactly, durations as a histogram, since the storage's begin."""
    begun_ns = time.time_ns()
    with receiving() as server:
        run(place, "--otlp", server.url)
    stats, last = place.stats(), metrics_in(server.of("/v1/metrics")[-1])
    calls = {
        attributes(one)["gen_ai.tool.name"]: one for one in last["shmperf.calls"].sum.data_points
    }
    assert {tool: one.as_int for tool, one in calls.items()} == {
        tool: one["count"] for tool, one in stats["tool_stats"].items()
    }
    assert begun_ns < calls["search"].start_time_unix_nano < calls["search"].time_unix_nano
    failed = [
        one
        for one in last[DURATION].exponential_histogram.data_points
        if attributes(one).get("error.type") == "KeyError"
    ]
    assert [one.count for one in failed] == [stats["tool_stats"]["search"]["errors"]]
    spans = {span.span_id: span.trace_id for span in server.spans()}
    shown = [
        exemplar
        for metrics in map(metrics_in, server.of("/v1/metrics"))
        # Before the first call has ended there is nothing to tell.
        if DURATION in metrics
        for one in metrics[DURATION].exponential_histogram.data_points
        for exemplar in one.exemplars
    ]
    assert shown
    assert all(spans[exemplar.span_id] == exemplar.trace_id for exemplar in shown)


def metrics_in(message: Any) -> dict[str, Any]:
    """The metrics of a request by name."""
    (resource,) = message.resource_metrics
    return {metric.name: metric for metric in resource.scope_metrics[0].metrics}


def configure(place: Place, url: str, more: str = "") -> None:
    """Keep all, write at once, and send there."""
    export = f"export: {{otlp: {{endpoint: '{url}', interval_seconds: 1{more}}}}}"
    place.write(CONFIG, f"{KEEP_ALL}storage: {{async_save: false}}\n{export}\n")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def told(*servers: Receiver) -> dict[str, Any]:
    """Every span that came, by its id; one that came again is the same."""
    found: dict[str, Any] = {}
    for server in servers:
        for span in server.spans():
            assert found.setdefault(span.span_id.hex(), span) == span
    return found


def test_backend_that_comes_back_has_all(place: Place) -> None:
    """Killed and started again, the sidecar killed, the collector killed: none is missing."""
    with receiving() as first:
        configure(place, first.url)
        rounds = Rounds(place, "otlp", KEY="hidden")
        rounds.make(100)
        wait_until(lambda: len(told(first)) == 200, "the first round")
        port = first.server_port
    rounds.make(100)
    wait_until(lambda: rounds.sidecar().get("problem"), "the backend to be missed")
    rounds.make(100)
    with receiving(port) as second:
        wait_until(lambda: len(told(first, second)) == 600, "the rounds it was away for")
        for kill in (rounds.sidecar()["pid"], place.collector_pid()):
            rounds.make(50)
            os.kill(kill, signal.SIGKILL)
            rounds.make(50)
        # Who asks brings a collector up that nobody else misses.
        stats = place.stats()
        wait_until(lambda: len(told(first, second)) == 1_000, "the last rounds")
        ids = rounds.end()
        wait_until(lambda: told(first, second).keys() == ids, "every call as a span")
    assert stats["total_calls"] == len(ids) == 1_000


def test_session_without_its_backend_leaves_the_rest_to_the_next(place: Place) -> None:
    """What the outbox holds is sent once somebody takes it."""
    port = free_port()
    configure(place, f"http://127.0.0.1:{port}")
    rounds = Rounds(place, "otlp", KEY="hidden")
    rounds.make(20)
    rounds.end()
    with receiving(port) as server:
        again = Rounds(place, "otlp", KEY="hidden")
        again.make(1)
        wait_until(lambda: len(told(server)) == 42, "both sessions' calls")
        ids = again.end()
        wait_until(lambda: told(server).keys() == ids, "all of them")


def test_no_secret_is_shown(place: Place) -> None:
    """By `config`, `status` or a log; who founds the session is told where calls go, once."""
    port = free_port()
    url = f"http://user:hidden@127.0.0.1:{port}/hidden?key=hidden"
    configure(place, url, ", headers: {x-key: hidden, x-more: 'env:KEY'}")
    rounds = Rounds(place, "otlp", KEY="hidden")
    rounds.make(3)
    problem = wait_until(lambda: rounds.sidecar().get("problem"), "the problem")
    assert problem == f"spans to http://127.0.0.1:{port}/***: Connection refused"
    said = place.shmperf("config") + place.shmperf("status")
    said += "".join(path.read_text() for path in place.runtime.rglob("*.log"))
    assert place.ask("config")["export"]["otlp"]["headers"] == {"x-key": "***", "x-more": "env:KEY"}
    assert f"0 dropped; {problem}" in " ".join(said.split())
    rounds.end()
    said += str(rounds.process.error_text)  # type: ignore[attr-defined]
    assert said.count("calls are sent to") == 1
    assert "hidden" not in said


def test_what_can_not_be_followed_is_a_problem(place: Place) -> None:
    """Of an endpoint in a variable that is not set, and of a header."""
    configure(place, "env:NOWHERE")
    rounds = Rounds(place, "otlp", KEY="hidden")
    rounds.make(1)
    assert wait_until(lambda: rounds.sidecar().get("problem"), "it") == "env:NOWHERE is not set"
    configure(place, "http://127.0.0.1:1", ", headers: {x-key: 'env:NO_KEY'}")
    wait_until(lambda: rounds.sidecar().get("problem") == "env:NO_KEY is not set", "the header's")
    rounds.end()


def test_flag_goes_before_the_configuration(place: Place) -> None:
    """Also where the file is edited while it runs; what is no URL is refused."""
    place.shmperf("run", "--otlp", "localhost", "--", "true", code=2)
    with receiving() as server:
        configure(place, "http://127.0.0.1:1")
        collecting = place.start_module("collect", "--session", "mine", "--otlp", server.url)
        pid = place.collector_pid("--session", "mine")
        place.run_program("end_to_end/ten_calls", SHMPERF_SESSION="mine")
        wait_until(lambda: len(told(server)) == 10, "its calls")
        configure(place, "http://127.0.0.1:2", ", arguments: true")
        wait_until(lambda: _has_arguments(place, server), "parameters")
        os.kill(pid, signal.SIGTERM)
        place.finish(collecting)


def _has_arguments(place: Place, server: Receiver) -> bool:
    """Whether a call that is made now, or one before, came with its parameters."""
    place.run_program("end_to_end/ten_calls", SHMPERF_SESSION="mine")
    return any("gen_ai.tool.call.arguments" in attributes(span) for span in server.spans())
