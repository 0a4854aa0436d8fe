"""Another user on the same machine: what they can't read, feed, stop or stand in the way of."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from shmperf.errors import FormatError, SessionError
from shmperf.session.client import Client
from shmperf.session.messages import Ping
from shmperf.session.paths import runtime_root
from shmperf.session.server import Server
from shmperf.shm.memory import SHARED_MEMORY, attach_memory, create_memory
from tests.support import DEADLINE_S, PYTHON, Place, outputs, program_text, wait_until

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="acts as a second user: needs root")
NOBODY = 65534


def as_nobody(action: Callable[[], Any]) -> Any:
    """What *action* returns, or the name of what it raises, in a child with another uid."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            answer: Any = action()
        except BaseException as error:  # noqa: BLE001  the parent judges
            answer = type(error).__name__
        os.write(write_fd, json.dumps(answer).encode())
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as file:
        answer = json.loads(file.read())
    os.waitpid(pid, 0)
    return answer


@contextmanager
def open_to_all(path: Path) -> Iterator[None]:
    """The way to *path* is open, so that only its own mode protects it."""
    opened = []
    for parent in path.parents:
        mode = stat.S_IMODE(parent.stat().st_mode)
        if not mode & 0o001:
            opened.append((parent, mode))
            parent.chmod(mode | 0o011)
    try:
        yield
    finally:
        for parent, mode in opened:
            parent.chmod(mode)


def everything_below(path: Path) -> list[Path]:
    return [path, *path.rglob("*")]


@AS_ROOT
def test_others_can_read_write_and_delete_nothing(place: Place) -> None:
    """Memory, session directory, socket, settings, journal and history are their owner's alone."""
    program = place.start_program("security/talks")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (session,) = place.sessions()
    segments = [SHARED_MEMORY / path.name[2:] for path in session.glob("w-*")]
    kept = [*everything_below(session), *everything_below(place.storage / ".shmperf")]
    kept += [*place.storage.glob("*.jsonl"), *segments]
    assert {"control.sock", "settings", "snapshot", "tool_perf.jsonl"} <= {p.name for p in kept}
    assert segments
    for path in kept:
        found = path.lstat()
        assert stat.S_IMODE(found.st_mode) & 0o077 == 0, path
        assert found.st_uid == os.geteuid()
        if path.is_dir() or path.is_socket():
            continue
        with open_to_all(path):
            for flags in (os.O_RDONLY, os.O_WRONLY):
                assert as_nobody(lambda p=path, f=flags: os.open(p, f)) == "PermissionError", path
    with open_to_all(session):
        assert as_nobody(lambda: os.listdir(session)) == "PermissionError"  # noqa: PTH208
        new = session / "w-shmperf-000000000000"
        assert as_nobody(lambda: new.write_bytes(b"")) == "PermissionError"
    for segment in segments:
        assert as_nobody(segment.unlink) == "PermissionError"
    outputs(program, "\n")


@AS_ROOT
def test_others_get_no_answer_and_stop_nothing(tmp_path: Path) -> None:
    """A socket that somebody has laid open still answers to its owner alone."""
    short = Path(tempfile.mkdtemp(prefix="sec-"))
    short.chmod(0o755)
    server = Server(short)
    try:
        (short / "control.sock").chmod(0o777)

        def ask() -> str:
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(short / "control.sock"))
            client.settimeout(DEADLINE_S)
            client.sendall(b"\0\0\0\0")
            return client.recv(10).hex()

        pid = os.fork()
        if pid == 0:
            for _ in range(round(DEADLINE_S / 0.05)):
                server.wait(0.05)
                if server.refused:
                    os._exit(0)
            os._exit(1)
        assert as_nobody(ask) in ("", "ConnectionResetError", "BrokenPipeError")
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        server.close()
        short.rmdir()


@AS_ROOT
def test_socket_of_somebody_else_is_not_talked_to(tmp_path: Path) -> None:
    """A client sends nothing to a process of another user that sits in the collector's place."""
    short = Path(tempfile.mkdtemp(prefix="sec-"))
    short.chmod(0o777)
    ready_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setuid(NOBODY)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(short / "control.sock"))
        listener.listen()
        os.write(write_fd, b"\n")
        client, _ = listener.accept()
        os._exit(len(client.recv(100)))
    os.read(ready_fd, 1)
    try:
        with pytest.raises(SessionError, match="another user's process answers there"):
            Client(short).ask(Ping(), 5.0)
        assert os.waitpid(pid, 0)[1] == 0
    finally:
        os.close(ready_fd)
        os.close(write_fd)
        (short / "control.sock").unlink()
        short.rmdir()


@AS_ROOT
def test_squatted_name_in_shared_memory_is_passed_over(tmp_path: Path) -> None:
    """Memory that another user made under one of our names is neither used nor attached."""
    name = f"shmperf-{os.urandom(6).hex()}"

    def squat() -> None:
        with (SHARED_MEMORY / name).open("xb") as file:
            os.fchmod(file.fileno(), 0o666)
            file.write(bytes(8192))

    assert as_nobody(squat) is None
    try:
        with pytest.raises(FileExistsError):
            create_memory(name, 8192, tmp_path)
        with pytest.raises(FormatError, match="owner or mode of somebody else's"):
            attach_memory(name, None)
        assert list(tmp_path.iterdir()) == []
    finally:
        (SHARED_MEMORY / name).unlink()


@AS_ROOT
def test_runtime_directory_of_somebody_else_is_reported_and_not_used(place: Place) -> None:
    """Where another user was first, tracking is off, told in one line, and the tool works."""
    temporary = Path(tempfile.mkdtemp(prefix="sec-"))
    root = temporary / f"shmperf-{os.geteuid()}"
    root.mkdir(mode=0o777)
    os.chown(root, NOBODY, NOBODY)
    try:
        environ = {"XDG_RUNTIME_DIR": "", "TMPDIR": str(temporary)}
        with pytest.raises(SessionError, match="belongs to another user"):
            runtime_root(environ)
        script = place.write("tracked.py", program_text("security/one_call"))
        program = subprocess.run(
            [PYTHON, str(script)],
            cwd=place.cwd,
            env={**place.environ, **environ},
            capture_output=True,
            text=True,
            check=True,
        )
        assert program.stdout == "2 off\n"
        (line,) = program.stderr.splitlines()
        assert line.startswith("tracking is off")
        assert "belongs to another user" in line
        assert list(root.iterdir()) == []
    finally:
        root.rmdir()
        temporary.rmdir()


@AS_ROOT
def test_foreign_xdg_directory_is_passed_over(place: Place) -> None:
    """An XDG_RUNTIME_DIR that another user owns is not used; the per-user directory is."""
    temporary = Path(tempfile.mkdtemp(prefix="sec-"))
    foreign = temporary / "xdg"
    foreign.mkdir()
    os.chown(foreign, NOBODY, NOBODY)
    try:
        environ = {"XDG_RUNTIME_DIR": str(foreign), "TMPDIR": str(temporary)}
        root = runtime_root(environ)
        assert root == temporary / f"shmperf-{os.geteuid()}"
        assert stat.S_IMODE(root.stat().st_mode) == 0o700
        assert list(foreign.iterdir()) == []
        root.rmdir()
    finally:
        foreign.rmdir()
        temporary.rmdir()


@AS_ROOT
def test_session_and_storage_are_closed_to_others(place: Place) -> None:
    """Another user can enter neither the session's directory nor the storage's internals."""
    program = place.start_program("security/talks")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    before = place.stats()["begun"]
    (session,) = place.sessions()

    def join() -> list[bool]:
        return [os.access(session, os.R_OK), os.access(place.storage / ".shmperf", os.X_OK)]

    with open_to_all(place.storage / ".shmperf"), open_to_all(session):
        assert as_nobody(join) == [False, False]
    assert place.stats()["begun"] == before
    outputs(program, "\n")
    wait_until(lambda: not place.sessions(), "the session to end")
