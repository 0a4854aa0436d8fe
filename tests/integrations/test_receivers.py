"""Backends of other people have the calls as spans of tools: each once, whatever happened."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import Place, missing, wait_until

from .receivers import MLflow, Phoenix, Span, TraceReceiver

RECEIVERS: tuple[type[TraceReceiver], ...] = (Phoenix, MLflow)
if not all(one.path().exists() for one in RECEIVERS):
    missing("SHMPERF_COUNTERPARTS names no directory that .ci/counterparts has filled")


@pytest.fixture(params=RECEIVERS, ids=lambda one: one.__name__)
def receiver(
    request: pytest.FixtureRequest, place: Place, tmp_path: Path
) -> Iterator[TraceReceiver]:
    """One of them, which goes before the test's place looks for what was left behind."""
    found: TraceReceiver = request.param(tmp_path / "receiver")
    try:
        found.start()
        yield found
    finally:
        found.kill()


def searching(program: subprocess.Popen[str], times: int) -> None:
    """Have the program search so often; its calls are in the totals then."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(f"{times}\n")
    program.stdin.flush()
    assert program.stdout.readline()


def sidecar(place: Place) -> dict[str, Any]:
    """What `status` says of the process that sends."""
    found: dict[str, Any] = place.ask("status")["sidecars"]["otlp"]
    return found


def check(found: list[Span], place: Place) -> None:
    """Each call of the history is a span, once, with all that is known of it."""
    spans = {span.id: span for span in found}
    lines = [line["data"] for tool in ("search", "fetch") for line in place.lines(tool)]
    assert len(found) == len(spans) == len(lines) == place.stats()["total_calls"]
    for line in lines:
        span = spans[line["id"]]
        assert (span.name, span.kind) == (f"execute_tool {line['t']}", "TOOL")
        assert span.parent == line.get("parent")
        assert span.trace == spans[line.get("trace", line["id"])].trace
        assert span.is_error == ("err" in line)
        assert span.attributes.get("error.type") == line.get("err")
        assert span.arguments == json.loads(line["p"])
    assert {span.said for span in found if span.is_error} == {"KeyError"}
    assert not any(span.said for span in found if not span.is_error)


def requests_in(path: Path) -> Iterator[bytes]:
    """The requests of a file, each behind its length."""
    content = path.read_bytes()
    while content:
        end = 4 + int.from_bytes(content[:4], "big")
        yield content[4:end]
        content = content[end:]


def test_each_call_is_a_span_once(place: Place, receiver: TraceReceiver) -> None:
    """Calls of before, while, and after the receiver was away, killed; exported again, the same."""
    otlp = {"endpoint": receiver.url, "metrics": False, "arguments": True}
    options = {"default_perf_points": -1, "export": {"otlp": otlp}}
    place.write("config/tool_perf_limits.yaml", json.dumps(options))
    program = place.start_program("export/searches", **receiver.variables("tests"))
    searching(program, 20)
    receiver.wait_for("tests", 60)
    if receiver.keeps_what_it_has_taken:
        # It is killed while it takes these, or shortly before or after.
        searching(program, 20)
    receiver.kill()
    searching(program, 10)
    wait_until(lambda: sidecar(place)["problem"], "the failure to be seen")
    receiver.start()
    searching(program, 10)
    calls = place.stats()["total_calls"]
    check(receiver.wait_for("tests", calls), place)
    wait_until(lambda: sidecar(place)["waiting"] == 0, "all to be acknowledged")
    assert (sidecar(place)["dropped"], sidecar(place)["last_error"]) == (0, None)
    place.finish(program)
    place.wait_for_end()
    place.ask("export", "otlp", "-o", "calls.pb")
    for request in requests_in(place.cwd / "calls.pb"):
        receiver.post(request, receiver.headers("tests"))
    check(receiver.wait_for("tests", calls), place)
