"""``metrics`` and the collector object: all workers of a session, for whoever may ask."""

from __future__ import annotations

import signal
import subprocess
from http.client import HTTPConnection

import pytest

from tests.support import Place, outputs

TOKEN = "0123456789abcdef0123"  # noqa: S105  of this test


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("export/record")
    place.wait_for_end()
    return place


def started(place: Place, *arguments: str) -> tuple[subprocess.Popen[str], int]:
    """An endpoint, and the port that it has found."""
    program = place.start_module("metrics", "--listen", "127.0.0.1:0", *arguments)
    assert program.stdout is not None
    told = program.stdout.readline()
    assert told.startswith("metrics are at http://127.0.0.1:")
    return program, int(told.rpartition(":")[2].partition("/")[0])


def asked(port: int, path: str = "/metrics", **headers: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_what_is_shown_is_what_was_recorded(recorded: Place) -> None:
    """A storage at rest, too; there is one path, and a signal ends it with 0."""
    program, port = started(recorded)
    code, text = asked(port)
    assert code == 200
    assert 'shmperf_calls_total{gen_ai_tool_name="leaf"} 300\n' in text
    assert asked(port, "/other")[0] == 404
    program.send_signal(signal.SIGTERM)
    recorded.finish(program)


def test_a_token_is_wanted_where_there_is_one(recorded: Place) -> None:
    """Beyond this machine it has to be; in a file, so that no process list shows it."""
    path = recorded.write("token", f"{TOKEN}\n")
    program, port = started(recorded, "--token-file", str(path))
    assert asked(port)[0] == 401
    assert asked(port, Authorization="Bearer other")[0] == 401
    assert asked(port, Authorization=f"Bearer {TOKEN}")[0] == 200
    program.send_signal(signal.SIGINT)
    recorded.finish(program)


def test_a_web_page_gets_nothing_by_a_name_that_leads_here(recorded: Place) -> None:
    """Without a token a browser asks by the page's name, and is refused; with one none matters."""
    program, port = started(recorded)
    hosts = ["localhost", "LOCALHOST:1", "127.0.0.1:1", "[::1]:1", ""]
    assert [asked(port, Host=host)[0] for host in hosts] == [200] * len(hosts)
    hosts = ["evil.example", "127.0.0.1.evil.example:1", "[evil]", ":1", "10.0.0.1", "localhost."]
    assert [asked(port, Host=host)[0] for host in hosts] == [403] * len(hosts)
    program.send_signal(signal.SIGTERM)
    recorded.finish(program)
    path = recorded.write("token", f"{TOKEN}\n")
    program, port = started(recorded, "--token-file", str(path))
    assert asked(port, Host="evil.example")[0] == 401
    assert asked(port, Host="scraped.example", Authorization=f"Bearer {TOKEN}")[0] == 200
    program.send_signal(signal.SIGTERM)
    recorded.finish(program)


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--listen", "0.0.0.0:0"), 1, "0.0.0.0 is reached from other machines"),
        (("--listen", "9464"), 2, "expected HOST:PORT"),
        (("--listen", "127.0.0.1:99999"), 2, "expected HOST:PORT"),
        (("--token-file", "nowhere"), 1, "nowhere: No such file or directory"),
        (("--token-file", "short"), 1, "a token has 16 printable characters or more"),
        (("--storage", "nowhere"), 1, "no such directory"),
    ],
)
def test_what_is_wrong_is_told_at_once(
    recorded: Place, arguments: tuple[str, ...], code: int, text: str
) -> None:
    """A line, and nobody listens."""
    recorded.write("short", "short")
    program = recorded.start_module("metrics", *arguments)
    out, err = outputs(program)
    assert program.returncode == code
    assert text in err
    assert not out


def test_a_port_in_use_is_a_line(recorded: Place) -> None:
    """Somebody else's, or another one of ours."""
    program, port = started(recorded)
    second = recorded.start_module("metrics", "--listen", f"127.0.0.1:{port}")
    _, err = outputs(second)
    assert (second.returncode, err) == (1, f"shmperf: 127.0.0.1:{port}: Address already in use\n")
    program.send_signal(signal.SIGTERM)
    recorded.finish(program)


def test_a_registry_shows_all_workers(place: Place) -> None:
    """The collector object, in a program that records: its own calls and those of its children."""
    assert place.run_program("export/registry") == "shmperf_calls_total 12\n"
