"""What the doctor takes for dead: memory that nobody has mapped, whatever its pid says."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.shm.memory import SHARED_MEMORY, is_held, remove_memory
from shmperf.shm.segment import LAYOUT, Segment, is_of_another_version
from tests.support import PYTHON, Place, outputs, program_text, wait_until

NAME = "shmperf-d0c0d0c0{:04x}"
NAMESPACES = {
    "its own /proc": ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc"),
    "the outer /proc": ("unshare", "--pid", "--fork", "--kill-child"),
}
# Runs the rest as the process of the number that comes first, where this user may choose it.
UNDER_A_NUMBER = (
    "sh",
    "-c",
    'echo $(($0 - 1)) > /proc/sys/kernel/ns_last_pid; "$@"; exit $?',
)


def nobodys() -> int:
    """A pid that no process has here."""
    most = int(Path("/proc/sys/kernel/pid_max").read_text())
    return next(pid for pid in range(most - 1, 1, -1) if not Path(f"/proc/{pid}").exists())


def is_possible(command: tuple[str, ...]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A runtime directory of its own, short enough for a socket's path."""
    with tempfile.TemporaryDirectory(prefix="elsewhere-", dir="/tmp") as directory:
        yield Path(directory)


@pytest.fixture
def names() -> Iterator[list[str]]:
    made = [NAME.format(os.getpid() % 0x3FFF * 4 + n) for n in range(4)]
    for name in made:
        remove_memory(name, None)
    yield made
    for name in made:
        remove_memory(name, None)


def is_old(name: str) -> bool:
    return time.time() - (SHARED_MEMORY / name).stat().st_ctime > 5.2


def left_over(place: Place, *flags: str) -> dict[str, str]:
    rows = place.ask("doctor", *flags)
    found: dict[str, str] = next(row for row in rows if row["check"] == "left-over segments")
    return found


@pytest.mark.parametrize("proc", NAMESPACES)
def test_memory_of_another_pid_namespace_is_left_while_it_is_used(
    place: Place, elsewhere: Path, proc: str
) -> None:
    """A session elsewhere, whose pids say nothing here, keeps its memory until it is dead."""
    command = (*NAMESPACES[proc], *UNDER_A_NUMBER, str(nobodys()))
    if not is_possible(command):
        pytest.skip(f"this user may not run {' '.join(command)}")
    script = place.write("program.py", program_text("bad_input/doctor_finds_removes_memory_dead"))
    program = place.start(
        *command,
        PYTHON,
        str(script),
        XDG_RUNTIME_DIR=str(elsewhere),
        SHMPERF_SESSION="elsewhere",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (presence,) = elsewhere.glob("shmperf/n-elsewhere/w-*")
    name = presence.name.removeprefix("w-")
    wait_until(lambda: is_old(name), "the segment to be old enough")
    left_over(place, "--fix")
    assert (SHARED_MEMORY / name).exists()
    assert is_held(name)
    program.kill()
    outputs(program)
    wait_until(lambda: not is_held(name), "the kernel to let go of it")

    def is_removed() -> bool:
        left_over(place, "--fix")
        return not (SHARED_MEMORY / name).exists()

    wait_until(is_removed, "the left-over to be removed")


def test_only_a_lock_tells_what_is_in_use(place: Place, names: list[str]) -> None:
    """
    Memory that is mapped stays, with a pid that is nobody's; half-made memory goes; what another
    version has made can't be told, stays and is named.
    """
    mapped, dead, half_made, older = names
    segment = Segment(mapped, budget_bytes=1 << 20, pid=1 << 22)
    gone = Segment(dead, budget_bytes=1 << 20, pid=1)
    gone.words.release()
    gone.buffer.release()
    gone._memory.close()
    header = bytes((SHARED_MEMORY / mapped).read_bytes()[:4096])
    (SHARED_MEMORY / half_made).write_bytes(bytes(8) + header[8:])
    other_layout = struct.pack("Q", LAYOUT - 1)
    (SHARED_MEMORY / older).write_bytes(header[:8] + other_layout + header[16:])
    assert [is_held(name) for name in names] == [True, False, False, False]
    assert [is_of_another_version(name) for name in names] == [False, False, False, True]
    wait_until(lambda: all(map(is_old, names)), "the segments to be old enough")

    def is_removed() -> bool:
        left_over(place, "--fix")
        return not ((SHARED_MEMORY / dead).exists() or (SHARED_MEMORY / half_made).exists())

    # Whoever sweeps beside this test may be the one that removes them.
    wait_until(is_removed, "the dead to be removed")
    assert (SHARED_MEMORY / mapped).exists()
    assert (SHARED_MEMORY / older).exists()
    row = left_over(place)
    assert row["state"] == "warn"
    assert "another version" in row["found"]
    segment.words.release()
