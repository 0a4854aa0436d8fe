"""uWSGI, a C program with an interpreter in it: calls in all of its workers are on disk."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from tests.support import DEADLINE_S, PYTHON, Place, needs, outputs, program_text, wait_until

needs("pyuwsgi")

UWSGI = str(Path(PYTHON).with_name("uwsgi"))


def ask(place: Place) -> str | None:
    """The answer to a request, read to the connection's end; None when there is nobody."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(DEADLINE_S)
        try:
            client.connect(str(place.cwd / "web.sock"))
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(4096), b""))
        except (FileNotFoundError, ConnectionError):
            return None
    return answer.decode().rpartition("\r\n\r\n")[2]


@pytest.mark.parametrize("flags", [(), ("--lazy-apps",), ("--enable-threads", "--threads=2")])
def test_calls_of_all_workers_are_on_disk(place: Place, flags: tuple[str, ...]) -> None:
    """Every request is answered and ends, its call is kept, and nothing is loaded twice."""
    place.write("application.py", program_text("hosts/application"))
    common = ("--master", "--processes=2", "--die-on-term", "--need-app", "--virtualenv")
    where = ("--http-socket=web.sock", "--wsgi-file=application.py")
    program = place.start(UWSGI, *where, *common, str(Path(PYTHON).parent.parent), *flags)
    answers = [wait_until(lambda: ask(place), "the first answer")]
    answers += [ask(place) for _ in range(9)]
    assert {str(answer).split()[1] for answer in answers} == {"True"}, answers
    program.send_signal(signal.SIGTERM)
    _, log = outputs(program)
    assert program.returncode == 0, log
    assert "did not start" not in log
    loaded = len((place.cwd / "runs").read_text().splitlines())
    assert loaded == (2 if "--lazy-apps" in flags else 1)
    place.wait_for_end()
    stats = place.stats()
    assert (stats["total_calls"], stats["lost"], stats["aborted"]) == (10, {}, 0)
    assert len(place.ids("tool")) == 10
