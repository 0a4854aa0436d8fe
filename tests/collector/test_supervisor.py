"""The table of sidecars: a toy row is started, dies, comes back, is let go, ends with us."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from shmperf.collector import supervisor
from shmperf.collector.supervisor import Sidecar, Supervisor
from shmperf.config.options import Options, Rag
from shmperf.session.interpreter import PACKAGE_PARENT
from shmperf.session.messages import SidecarReport, SidecarStatus
from shmperf.shm.memory import remove_memory
from shmperf.storage.consumer import Consumer, consumers
from shmperf.storage.outbox import Outbox
from tests.support import PROGRAMS, wait_until

TOY = Sidecar(
    "toy",
    "toy",
    "tests.programs.sidecar.toy",
    lambda options, storage: options.rag.enabled and (storage / "wanted").exists(),
    lambda options: options.rag.interval_seconds,
    consumer="toy",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A session's directory that is its storage too, where the toy row is in the table."""
    (tmp_path / "settings").write_bytes(b"settings")
    monkeypatch.setattr(supervisor, "SIDECARS", (*supervisor.SIDECARS, TOY))
    return tmp_path


def lives(place: Path) -> list[int]:
    """The pids under which the toy has come up, in order."""
    path = place / "lives"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def told_of(beside: Supervisor, place: Path, nth: int) -> SidecarStatus:
    """What is said of the *nth* toy; it may be up before its starter has noted its pid."""
    wait_until(lambda: len(lives(place)) >= nth, f"toy {nth}")
    pid = lives(place)[nth - 1]

    def told() -> SidecarStatus | None:
        status = beside.status().get("toy")
        return status if status is not None and status.pid == pid else None

    found: SidecarStatus = wait_until(told, "its row")
    return found


def test_a_sidecar_is_started_restarted_and_dismissed(place: Path) -> None:
    """It runs while its row wants it, comes back when it was killed, and goes when told."""
    beside = Supervisor(place, place, Options())
    beside.start()
    try:
        assert beside.status() == {}
        (place / "wanted").touch()
        assert told_of(beside, place, 1).restarts == 0
        os.kill(lives(place)[0], signal.SIGKILL)
        assert told_of(beside, place, 2).restarts == 1
        (place / "wanted").unlink()
        wait_until((place / "ended").exists, "its end")
        wait_until(lambda: beside.status() == {}, "an empty table")
    finally:
        beside.close()


def test_what_it_says_of_itself_is_told(place: Path) -> None:
    """Figures of any row come with its pid; of a name that is no row nothing is taken."""
    (place / "wanted").touch()
    beside = Supervisor(place, place, Options())
    beside.start()
    try:
        pid = told_of(beside, place, 1).pid
        assert beside.hear("toy", SidecarReport(sent=7, waiting=2, dropped=1, last_error="no"))
        assert not beside.hear("stranger", SidecarReport())
        assert beside.status()["toy"] == SidecarStatus(
            pid=pid, sent=7, waiting=2, dropped=1, last_error="no"
        )
        os.kill(lives(place)[0], signal.SIGKILL)
        assert told_of(beside, place, 2).sent == 0
    finally:
        beside.close()


def test_other_options_start_it_anew(place: Path) -> None:
    """What it was started with is what it serves; its restarts are not deaths."""
    (place / "wanted").touch()
    beside = Supervisor(place, place, Options())
    beside.start()
    try:
        wait_until(lambda: lives(place), "the toy")
        beside.configure(Options(rag=Rag(interval_seconds=2)))
        status = told_of(beside, place, 2)
        assert (place / "ended").exists()
        assert status.restarts == 0
    finally:
        beside.close()


def test_one_that_always_dies_is_paused_for_longer_each_time(place: Path) -> None:
    """The pause between two starts doubles, by the clock handed in, until it is given up."""
    (place / "wanted").touch()
    (place / "die").touch()
    now = [0.0]
    keeper = supervisor._Keeper(TOY, place, place, lambda: now[0])
    for death in range(1, 9):
        keeper.look(Options())
        wait_until(lambda: _buried(keeper), "a death")
        status = keeper.status()
        assert status is not None
        assert "the toy ended with code 7" in (status.problem or "")
        now[0] += 0.5 * 2 ** (death - 1) - 0.01
        keeper.look(Options())
        assert len(lives(place)) == death
        now[0] += 0.02
    keeper.look(Options())
    assert len(lives(place)) == 8
    status = keeper.status()
    assert status is not None
    assert "it is not started again" in (status.problem or "")


def test_what_waited_for_an_unwanted_one_is_let_go(place: Path) -> None:
    """Its cursor stays while it is wanted, though it dies; after that its lines are counted."""
    (place / "wanted").touch()
    (place / "die").touch()
    reader, other = Consumer(place, "toy"), Consumer(place, "other")
    reader.register()
    other.register()
    other.close()
    outbox = Outbox(place)
    outbox.prepare(1 << 20)
    outbox.append(b"{}\n" * 3)
    outbox.commit()
    now_s = [0.0]
    keeper = supervisor._Keeper(TOY, place, place, lambda: now_s[0])
    reader.close()
    keeper.look(Options())
    wait_until(lambda: _buried(keeper), "its death")
    assert consumers(place)["toy"].lag == 3
    reader.register()
    (place / "wanted").unlink()
    keeper.look(Options())
    # A process reads under this name, of whatever collector.
    assert "toy" in consumers(place)
    reader.close()
    keeper.look(Options())
    assert list(consumers(place)) == ["other"]
    keeper.look(Options())
    ((text, lines),) = keeper.let_go
    assert lines == 3
    assert "toy" in text


def _buried(keeper: supervisor._Keeper) -> bool:
    keeper.look(Options())
    status = keeper.status()
    return status is not None and status.pid is None


def test_a_sidecar_ends_when_its_collector_is_killed(tmp_path: Path, runtime: Path) -> None:
    """Nobody has to tell it: the pipe that it reads has no other end any more."""
    program = str(PROGRAMS / "sidecar/host.py")
    command = [sys.executable, program, str(tmp_path), str(runtime), PACKAGE_PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as host:
        assert host.stdout is not None
        directory = Path(host.stdout.readline().strip())
        wait_until(lambda: lives(directory), "the toy")
        host.kill()
        host.wait()
    wait_until((directory / "ended").exists, "its end")
    for presence in directory.glob("w-*"):
        remove_memory(presence.name[2:], None)
