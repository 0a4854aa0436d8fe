"""Programs on a storage that another version of shmperf has written, or is writing."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest

from shmperf.files import JOURNAL_VERSION
from shmperf.shm.segment import LAYOUT
from tests.support import PYTHON, Place, outputs


@pytest.fixture
def newer(place: Place) -> Place:
    """A storage whose journal says that a later version has written it."""
    place.run_program("upgrades/goes_on")
    place.wait_for_end()
    for path in [
        place.storage / ".shmperf/snapshot",
        *(place.storage / ".shmperf").glob("journal.[0-9]*"),
    ]:
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, 8, JOURNAL_VERSION + 1)
        path.write_bytes(content)
    return place


def images(place: Place) -> dict[Path, tuple[bytes, int]]:
    """Every file of the storage, and when it was written."""
    paths = [path for path in place.storage.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_a_newer_storage_is_told_once_and_not_touched(newer: Place) -> None:
    """Tools go on, tracking is off in the program, and no byte there is another one."""
    before = images(newer)
    program = newer.start_program("upgrades/goes_on")
    out, error = outputs(program)
    assert (out, program.returncode) == ("4950 off\n", 0)
    (line,) = error.splitlines()
    assert "tracking is off" in line
    assert f"journal of version {JOURNAL_VERSION + 1}, expected {JOURNAL_VERSION}" in line
    assert "use the shmperf that wrote it" in line
    assert images(newer) == before
    assert newer.sessions() == []


@pytest.mark.parametrize(
    "command",
    [
        ("run", "--", PYTHON, "-c", "print('ran')"),
        ("collect", "--session", "s"),
        ("cleanup", "--force"),
    ],
    ids=lambda command: command[0],
)
def test_no_command_touches_a_newer_storage(newer: Place, command: tuple[str, ...]) -> None:
    """Each says so in a line, and exits 1."""
    before = images(newer)
    program = newer.start_module(*command)
    out, error = outputs(program)
    assert (out, program.returncode) == ("", 1), error
    (line,) = error.splitlines()
    assert "use the shmperf that wrote it" in line
    assert images(newer) == before


def test_workers_of_a_named_session_record_nothing_for_a_newer_storage(newer: Place) -> None:
    """Nobody could ever drain them: no memory is made that stays."""
    out = newer.run_program("upgrades/goes_on", SHMPERF_SESSION="named")
    assert out == "4950 off\n"
    assert newer.sessions() == []


OTHERS = (
    "stats",
    "tree",
    "slow",
    "errors",
    "inflight",
    "alerts",
    "mode optimization",
    "cleanup --force",
    "optimize --seconds 1",
    "export csv",
    "diff perf_data perf_data",
    "trace tool",
)


def test_status_and_stop_reach_a_session_of_another_version(place: Place) -> None:
    """All other commands, and programs that come, say in a line whose it is; it is left alone."""
    first = place.start_program("upgrades/waits")
    assert first.stdout is not None
    assert first.stdout.readline() == "ready\n"
    (session,) = place.sessions()
    known = msgspec.msgpack.decode((session / "settings").read_bytes())
    (session / "settings").write_bytes(msgspec.msgpack.encode(known | {"layout": LAYOUT + 1}))
    for command in OTHERS:
        program = place.start_module(*command.split())
        out, error = outputs(program)
        assert (out, program.returncode) == ("", 1), command
        (line,) = error.splitlines()
        assert "another version of shmperf" in line, command
    program = place.start_program("upgrades/goes_on")
    out, error = outputs(program)
    assert (out, program.returncode) == ("4950 off\n", 0)
    (line,) = error.splitlines()
    assert line.endswith(f"end them and run: shmperf stop --storage {place.storage}")
    assert place.ask("status")["collector"]["pid"]
    assert place.shmperf("stop") == "stopped\n"
    (session / "settings").write_bytes(msgspec.msgpack.encode(known))
    out, _ = outputs(first, "go on\n")
    assert (out, first.returncode) == ("10\n", 0)
    place.wait_for_end()
    assert place.stats()["total_calls"] == 10
