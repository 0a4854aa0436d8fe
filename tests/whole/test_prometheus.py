"""Real programs beside the endpoint of their session: who scrapes sees counters that go on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from typing import Any

from tests.exporters.scraping import free_port, values
from tests.support import Place, wait_until

CALLS = 80
CONFIG = "config/tool_perf_limits.yaml"
LISTEN = "export: {{prometheus: {{listen: '{listen}'}}, most_tools: {most}}}\n"


def configure(place: Place, listen: str, most: int = 1_000) -> None:
    place.write(CONFIG, LISTEN.format(listen=listen, most=most))


def sidecar(place: Place) -> dict[str, Any]:
    """What `status` says of it."""
    found: dict[str, Any] = place.ask("status")["sidecars"].get("prometheus", {})
    return found


def wait_for(port: int, calls: int) -> None:
    """Until so many calls of the tool are shown."""
    sample = "shmperf_calls_total"
    wait_until(lambda: values(port, sample).get("search") == calls, f"{calls} calls")


def search(program: subprocess.Popen[str], count: int) -> None:
    """So many calls more; they are on disk."""
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(f"{count}\n")
    program.stdin.flush()
    program.stdout.readline()


def test_counters_go_on(place: Place) -> None:
    """Through the kill of a collector and the end of a session; a clean-up is a new begin."""
    port = free_port()
    configure(place, f"127.0.0.1:{port}")
    first = place.start_program("export/searches")
    search(first, 30)
    wait_for(port, 30)
    wait_until(lambda: sidecar(place).get("sent", 0) >= 1, "the scrape in its report")
    os.kill(place.collector_pid(), signal.SIGKILL)
    search(first, 20)
    wait_for(port, 50)
    place.finish(first)
    place.wait_for_end()
    second = place.start_program("export/searches")
    search(second, 1)
    shown: list[float] = []

    def are_all() -> bool:
        shown.append(values(port, "shmperf_calls_total").get("search", 0.0))
        return shown[-1] == 51

    wait_until(are_all, "the calls of both")
    assert min(filter(None, shown)) >= 50
    assert place.stats()["tool_stats"]["search"]["count"] == 51
    begun_s = values(port, "shmperf_calls_created")["search"]
    place.shmperf("cleanup")
    search(second, 3)
    wait_for(port, 3)
    assert values(port, "shmperf_calls_created")["search"] > begun_s
    place.finish(second)


def test_other_options_hold_at_once(place: Place) -> None:
    """Another port while the session runs; one that is taken is a problem that passes."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = int(other.getsockname()[1])
        configure(place, f"127.0.0.1:{taken}")
        program = place.start_program("export/paced", str(CALLS))
        wait_until(place.storage.is_dir, "the session")
        wait_until(lambda: "in use" in (sidecar(place).get("problem") or ""), "the problem")
    wait_for(taken, CALLS)
    port = free_port()
    configure(place, f"127.0.0.1:{port}")
    wait_for(port, CALLS)
    assert not values(taken, "shmperf_calls_total")
    configure(place, "0.0.0.0:9464")
    wait_until(lambda: "other machines" in (sidecar(place).get("problem") or ""), "the refusal")
    configure(place, "")
    wait_until(lambda: not sidecar(place), "its end")
    place.finish(program)
