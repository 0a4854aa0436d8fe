"""Alerts of a real program to a real server: told once, though the collector is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from typing import Any

from tests.exporters.test_webhook import Server, server
from tests.support import DEADLINE_S, Place, assert_books_balance, outputs, wait_until

__all__ = ["server"]

_LEARNT_S = 70.0


def test_hanging_call_is_told_everywhere_once(place: Place, server: Server) -> None:
    """Begin and end by file, command and webhook; kill -9 in between changes nothing."""
    url = f"http://127.0.0.1:{server.server_port}/hidden"
    place.write("config/tool_perf_limits.yaml", f'anomaly: {{webhook: "{url}"}}\n')
    program = place.start_program("alerts/hangs")
    assert program.stdin is not None
    wait_until(lambda: len(server.got) == 1, "the begin")
    (alert,) = place.ask("alerts", "--open")["alerts"]
    assert (alert["kind"], alert["tool"]) == ("stuck", "fetch")
    assert alert["evidence"]["chain"] == ["answer"]
    assert alert["evidence"]["pid"] == program.pid
    assert alert["evidence"]["params"] is None
    assert "hidden" not in place.shmperf("config")
    assert "hidden" not in place.shmperf("status")
    os.kill(place.collector_pid(), signal.SIGKILL)
    assert place.ask("status")["alerts"] == [alert]
    program.stdin.write("\n")
    program.stdin.flush()
    wait_until(lambda: len(server.got) == 2, "the end")
    outputs(program, "\n")
    assert_books_balance(place.stats())
    place.wait_for_end()
    (ended,) = place.ask("alerts")["alerts"]
    assert place.ask("alerts", "--open")["alerts"] == []
    assert ended["evidence"]["outcome"] == "ok"
    params = json.loads(ended["evidence"]["params"])
    assert params == {"number": 70, "is_last": True, "api_key": "***"}
    assert ended["text"].startswith(alert["text"])
    assert ended["text"].endswith(ended["evidence"]["params"])
    assert [body for _, _, body in server.got] == [alert, ended]
    lines = (place.storage / "alerts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [alert, ended]


def test_webhook_that_is_switched_off_leaves_nothing(place: Place) -> None:
    """What still waited is counted; nothing is kept for it, and what there was goes."""
    file = "config/tool_perf_limits.yaml"
    url = "http://127.0.0.1:1/hidden"
    place.write(file, f'{{anomaly: {{webhook: "{url}"}}, storage: {{async_save: false}}}}\n')
    program = place.start_program("alerts/hangs")
    assert program.stdin is not None

    def waiting() -> int:
        status = place.ask("status")
        return int(status["consumers"].get("webhook", {}).get("lag", 0)) * len(status["alerts"])

    wait_until(waiting, "the begin, which nobody takes")
    place.write(file, "storage: {async_save: false}\n")

    def let_go() -> int:
        return int(place.ask("status")["faults"].get("outbox_let_go", 0))

    assert wait_until(let_go, "its end") >= 1
    status = place.ask("status")
    assert status["consumers"] == {}
    assert "webhook is wanted no more" in status["told"]["outbox_let_go"]
    program.stdin.write("\n")
    program.stdin.flush()
    outputs(program, "\n")
    assert_books_balance(place.stats())
    place.wait_for_end()
    assert not list(place.storage.glob(".shmperf/outbox/*.jsonl"))
    assert not list(place.storage.glob(".shmperf/outbox/*.cursor"))


def test_found_destination_is_told_once(place: Place, server: Server) -> None:
    """By whoever founds the session, without its path; who names the file knows what it says."""
    url = f"http://127.0.0.1:{server.server_port}/hidden"
    file = "config/tool_perf_limits.yaml"
    place.write(file, f'anomaly: {{webhook: "{url}"}}\n')
    _, said = outputs(place.start_program("end_to_end/ten_calls"))
    sentence = f"alerts are posted to http://127.0.0.1:{server.server_port}/***"
    assert said.count(sentence) == 1
    assert file in said
    assert "hidden" not in said
    place.wait_for_end()
    named = place.start_program("end_to_end/ten_calls", SHMPERF_CONFIG=file)
    assert sentence not in outputs(named)[1]
    place.wait_for_end()


def test_wrong_destination_is_shown_nowhere(place: Place) -> None:
    """By no command, no warning, no log and no journal, whoever reads the file and when."""
    file = "config/tool_perf_limits.yaml"
    wrong = "anomaly: {webhook: 'http://user:hidden@host:port/hidden?hidden'}\n"
    place.write(file, wrong)
    said = ""
    for command in (["config"], ["run", "--", "true"], ["doctor"], ["stats"], ["status"]):
        program = place.start_module(*command)
        said += "".join(outputs(program))
        assert program.returncode
    _, warned = outputs(place.start_program("end_to_end/ten_calls"))
    assert "a URL whose port is from 1 to" in warned
    place.wait_for_end()
    place.write(file, "{}\n")
    program = recording(place, "alerts/grows")
    place.write(file, wrong)

    def told() -> str:
        status = place.ask("status")
        return json.dumps(status) if "config" in status["told"] else ""

    said += wait_until(told, "the fault")
    said += place.shmperf("status")
    assert said.count("a URL whose port is from 1 to") >= 4
    left = [path for at in (place.storage, place.runtime) for path in at.rglob("*")]
    contents = {path: path.read_bytes() for path in left if path.is_file()}
    assert contents
    assert [path for path, content in contents.items() if b"hidden" in content] == []
    assert "hidden" not in warned + said
    outputs(program, "\n")
    place.wait_for_end()


def test_tool_that_falls_silent_is_told(place: Place) -> None:
    """It alone, while its worker goes on with another; over with its next call."""
    place.write("config/tool_perf_limits.yaml", "anomaly: {interval_seconds: 1}\n")
    program = recording(place, "alerts/falls_silent")
    assert program.stdin is not None
    # Learnt in 40 intervals, silent for more than ten.
    (alert,) = wait_until(lambda: silent(place), "the begin", timeout_s=_LEARNT_S + DEADLINE_S)
    assert alert["tool"] == "fetch"
    evidence = alert["evidence"]
    assert evidence["silent_s"] > evidence["limit_s"] >= 10
    program.stdin.write("\n")
    program.stdin.flush()
    wait_until(lambda: not silent(place), "the end")
    outputs(program, "\n")
    assert_books_balance(place.stats())
    place.wait_for_end()
    (ended,) = (one for one in place.ask("alerts")["alerts"] if one["kind"] == "silence")
    assert ended["evidence"]["reason"] == "called again"


def test_worker_that_grows_is_told(place: Place) -> None:
    """By its process and how fast; over when it is gone."""
    config = "{anomaly: {interval_seconds: 1}, collector: {sample_interval_seconds: 0.2}}\n"
    place.write("config/tool_perf_limits.yaml", config)
    program = recording(place, "alerts/grows")
    (alert,) = wait_until(lambda: memory(place), "the begin", timeout_s=_LEARNT_S + DEADLINE_S)
    evidence = alert["evidence"]
    assert evidence["pid"] == program.pid
    assert evidence["to_bytes"] - evidence["from_bytes"] >= 32 << 20
    # Five MiB a second, on a quiet machine.
    assert 1_000 < evidence["mib_an_hour"] < 20_000
    outputs(program, "\n")
    place.wait_for_end()
    (ended,) = (one for one in place.ask("alerts")["alerts"] if one["kind"] == "memory")
    assert ended["evidence"]["reason"] == "the worker is gone"


def recording(place: Place, name: str) -> subprocess.Popen[str]:
    """That program, once it has made a first call: before, nothing was recorded there."""
    program = place.start_program(name)
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    return program


def memory(place: Place) -> list[dict[str, Any]]:
    """Who grows now."""
    return [one for one in place.ask("status")["alerts"] if one["kind"] == "memory"]


def silent(place: Place) -> list[dict[str, Any]]:
    """The silences that are open: what a busy machine slows down is another matter."""
    return [one for one in place.ask("status")["alerts"] if one["kind"] == "silence"]
