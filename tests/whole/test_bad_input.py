"""What goes wrong around a program: it goes on, the message is clear, the books balance."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from shmperf.shm.memory import SHARED_MEMORY, remove_memory
from tests.support import PYTHON, Place, assert_books_balance, outputs, program_text, wait_until

IS_ROOT = os.geteuid() == 0
AS_ROOT = pytest.mark.skipif(not IS_ROOT, reason="mounts a file system: needs root")

CALLS = program_text("bad_input/calls")


def in_mounts(place: Place, mounts: str, text: str) -> str:
    """Run a program in a mount namespace of its own, after the shell text *mounts*."""
    script = place.write("mounted.py", text)
    return place.run("unshare", "-m", "sh", "-ec", f"{mounts}\nexec {PYTHON} {script}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("default_perf_pionts: 3", "did you mean 'default_perf_points'"),
        ("default_perf_points: many", "found str 'many', expected int"),
        ("tool_limits: {a: -2}", "tool_limits"),
        ("storage: [", "valid YAML"),
    ],
)
def test_wrong_configuration_starts_nothing(place: Place, text: str, told: str) -> None:
    """``run`` and ``collect`` name what is wrong in one line, exit 1 and start nothing."""
    place.write("bad.yaml", text)
    for command in (
        ("run", "--config", "bad.yaml", "--", "touch", "started"),
        ("collect", "--session", "x", "--config", "bad.yaml"),
    ):
        program = place.start_module(*command)
        _, error = outputs(program)
        assert program.returncode == 1
        (line,) = error.splitlines()
        assert told in line
        assert "bad.yaml" in line
    assert not (place.cwd / "started").exists()
    assert place.sessions() == []


def test_wrong_configuration_in_a_worker_is_one_warning(place: Place) -> None:
    """A worker with a wrong file warns once and goes on with the defaults."""
    place.write("config/tool_perf_limits.yaml", "nonsense: 1\n")
    program = place.start_program("bad_input/calls")
    out, error = outputs(program)
    assert out == "normal 500 0\n"
    assert error.count("nonsense") == 1


def test_any_string_is_a_tool_name(place: Place) -> None:
    """Empty, long, path-like, unicode and colliding names are recorded, each in its own file."""
    place.run_program("bad_input/any_string_tool_name")
    place.wait_for_end()
    files = [path.name for path in place.storage.glob("*_perf.jsonl")]
    assert len({name.lower() for name in files}) == 15
    assert all(path.parent == place.storage for path in place.storage.rglob("*_perf.jsonl"))
    assert max(map(len, files)) < 200


def test_unknown_and_twice_ended_ids_are_faults(place: Place) -> None:
    """Ids that don't exist, are empty or ended before are counted, never raised."""
    place.run_program("bad_input/unknown_twice_ended_ids_faults")


def readable_for_another_user(paths: list[Path]) -> bool:
    """Whether a process of another uid can read any of *paths*."""
    probe = 'for path; do test -r "$path" && exit 1; done; exit 0'
    command = ["sh", "-c", probe, "sh", *map(str, paths)]
    return bool(subprocess.run(command, user=65534, group=65534, check=False).returncode)


@AS_ROOT
def test_small_shared_memory_loses_calls_by_count_and_nothing_else(place: Place) -> None:
    """In a /dev/shm of 1 MiB what exists keeps working, and every loss is counted."""
    out = in_mounts(
        place,
        "mount -t tmpfs -o size=1m tmpfs /dev/shm",
        program_text("bad_input/small_shared_memory_loses_calls"),
    )
    assert out == "True\n"


@AS_ROOT
@pytest.mark.parametrize(
    "mounts",
    [
        "mount -t tmpfs -o ro tmpfs /dev/shm",
        "mount -t tmpfs -o size=4k tmpfs /dev/shm; head -c 4096 /dev/zero > /dev/shm/full",
    ],
)
def test_without_shared_memory_workers_map_files(place: Place, mounts: str) -> None:
    """Where /dev/shm is missing, read-only or full, memory comes from the session directory."""
    assert in_mounts(place, mounts, CALLS) == "normal 500 0\n"


@AS_ROOT
def test_storage_that_cannot_be_written_keeps_statistics(place: Place) -> None:
    """With a read-only storage everything is counted in memory, and the tool's work goes on."""
    mounts = f"mkdir -p {place.storage}; mount -t tmpfs -o ro tmpfs {place.storage}"
    script = place.write("mounted.py", CALLS)
    program = place.start("unshare", "-m", "sh", "-ec", f"{mounts}\nexec {PYTHON} {script}")
    out, error = outputs(program)
    assert out == "normal 500 0\n", error
    assert error.count("history stays in memory") == 1


@AS_ROOT
def test_full_storage_recovers(place: Place) -> None:
    """A full disk costs no count; when there is room again, history is written."""
    mounts = f"mkdir -p {place.storage}; mount -t tmpfs -o size=64k tmpfs {place.storage}"
    out = in_mounts(place, mounts, program_text("bad_input/full_storage_recovers"))
    assert out == "True True\n"


@AS_ROOT
def test_a_disk_that_stays_full_is_told_by_everybody(place: Place) -> None:
    """By the collector, by whoever reads then, and by the next session, which counts it as lost."""
    storage = place.storage
    script = place.write("filling.py", program_text("bad_input/run_on_a_full_storage"))
    later = place.write("later.py", program_text("upgrades/goes_on"))
    shmperf = f"{PYTHON} -m shmperf"
    text = f"""
    mkdir -p {storage}; mount -t tmpfs -o size=64k tmpfs {storage}
    {shmperf} collect --session full --storage {storage} 2> collector.txt & pid=$!
    SHMPERF_SESSION=full {PYTHON} {script} > /dev/null
    kill -TERM $pid
    wait $pid || echo $? > exit.txt
    {shmperf} stats --json --storage {storage} > then.json 2> then.txt
    rm {storage}/filler
    {shmperf} run --storage {storage} -- {PYTHON} {later} 2> run.txt
    {shmperf} stats --json --storage {storage} > now.json 2> now.txt
    """
    program = place.start("unshare", "-m", "sh", "-ec", text)
    out, error = outputs(program)
    assert (out, program.returncode) == ("4950 normal\n", 0), error
    assert (place.cwd / "exit.txt").read_text() == "1\n"
    (line,) = (place.cwd / "collector.txt").read_text().splitlines()
    assert "not everything is on disk: " in line
    assert "No space left on device" in line
    then, now = (json.loads((place.cwd / f"{name}.json").read_text()) for name in ("then", "now"))
    assert_books_balance(then)
    assert not then["complete"]
    missing = 2000 - then["begun"]
    said = (place.cwd / "then.txt").read_text()
    assert f"of 2,000 calls begun {missing:,} are missing here" in said
    assert_books_balance(now)
    # A call that was open when the last frame fitted has its end nowhere.
    unended = {"segment_gone": then["in_flight"]} if then["in_flight"] else {}
    assert (now["begun"], now["lost"]) == (2100, {"unwritten": missing} | unended)
    assert (place.cwd / "now.txt").read_text() == ""


@AS_ROOT
def test_run_says_what_a_full_storage_cost(place: Place) -> None:
    """Figures that a full disk kept from being written are not passed off as all there were."""
    storage = place.storage
    mounts = f"mkdir -p {storage}; mount -t tmpfs -o size=64k tmpfs {storage}"
    script = place.write("filling.py", program_text("bad_input/run_on_a_full_storage"))
    run = f"{PYTHON} -m shmperf run --storage {storage} -- {PYTHON} {script}"
    program = place.start("unshare", "-m", "sh", "-ec", f"{mounts}\nexec {run}")
    out, error = outputs(program)
    assert out == "2000\n", error
    said = " ".join(error.split())
    missing = re.search(r"storage could not be written.*of 2,000 calls begun ([0-9,]+) are", said)
    written = re.search(r"([0-9,]+) begun ·", said)
    assert missing is not None, error
    assert written is not None, error
    assert sum(int(found[1].replace(",", "")) for found in (missing, written)) == 2000


def test_storage_deleted_while_running_is_made_anew(place: Place) -> None:
    """Deleting the storage directory of a running session loses history, not the session."""
    program = place.start_program("bad_input/storage_deleted_while_running_made")
    assert program.stdin is not None
    assert program.stdout is not None

    def turn() -> str:
        program.stdin.write("go\n")
        program.stdin.flush()
        return program.stdout.readline()

    assert turn() == "True 10\n"
    shutil.rmtree(place.storage)
    wait_until(lambda: turn().startswith("True"), "the storage to be made anew")
    assert place.lines("tool")
    # It is the session's as before: views find it, and who comes joins it.
    status = place.ask("status")
    assert status["collector"] is not None
    before = place.stats()["total_calls"]
    place.run_program("bad_input/calls")
    assert place.stats()["total_calls"] > before
    assert len(place.sessions()) == 1
    assert place.ask("status")["session"] == status["session"]
    outputs(program, "end\n")
    place.wait_for_end()
    assert_books_balance(place.stats())


def test_storage_deleted_while_nothing_is_called_is_whose_comes_first(place: Place) -> None:
    """Another session that has come meanwhile has it until its end; then what waits is written."""
    program = place.start_program("bad_input/storage_deleted_while_running_made")
    assert program.stdin is not None
    assert program.stdout is not None

    def turn(of: Any) -> str:
        of.stdin.write("go\n")
        of.stdin.flush()
        return str(of.stdout.readline())

    assert turn(program) == "True 10\n"
    shutil.rmtree(place.storage)
    other = place.start_program("bad_input/storage_deleted_while_running_made")
    assert turn(other) == "True 10\n"
    assert turn(program) == "False 20\n"
    outputs(other, "end\n")
    wait_until(lambda: turn(program).startswith("True"), "the storage to be free")
    outputs(program, "end\n")
    place.wait_for_end()
    assert_books_balance(place.stats())


def test_damaged_journal_is_told_and_survived(place: Place) -> None:
    """A damaged journal or snapshot costs what it held, is counted, and stops nothing."""
    place.run_program("bad_input/calls")
    place.wait_for_end()
    internals = place.storage / ".shmperf"
    (internals / "snapshot").write_bytes(b"\0" * 100)
    for log in internals.glob("journal.*"):
        log.write_bytes(os.urandom(1000))
    place.run_script(CALLS.replace("print(", "assert stats['faults'], stats; print("))
    assert list(internals.glob("snapshot.damaged-*"))
    assert place.stats()["total_calls"] == 500


def test_torn_history_line_is_passed_over(place: Place) -> None:
    """A line that is no JSON disturbs neither reading nor writing."""
    place.run_program("bad_input/calls")
    place.wait_for_end()
    path = place.storage / "tool_perf.jsonl"
    path.write_bytes(b'{"tool": "tool", "da\n' + path.read_bytes() + b'{"half')
    place.run_program("bad_input/calls")
    place.wait_for_end()
    kept = {line["data"]["id"] for line in map(json.loads, path.read_text().splitlines())}
    exemplars = map(json.loads, (place.storage / "exemplars.jsonl").read_text().splitlines())
    slowest = {line["data"]["id"] for line in exemplars if "slow" in line["kinds"]}
    assert (len(kept), len(slowest)) == (100, 10)
    assert {row["id"] for row in place.ask("slow", "--limit", "1000")} == kept | slowest


def test_foreign_files_in_the_session_directory_are_ignored(place: Place) -> None:
    """Presence files with nonsense, or of segments that don't exist, disturb nobody."""
    program = place.start_program("bad_input/foreign_files_session_directory_ignored")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (session,) = place.sessions()
    (session / "w-shmperf-000000000000").write_bytes(b"nonsense")
    (session / "w-../../x".replace("/", "_")).write_bytes(b"nonsense")
    (session / "w-shmperf-000000000001").symlink_to("/etc/passwd")
    foreign = SHARED_MEMORY / "shmperf-000000000002"
    try:
        foreign.write_bytes(os.urandom(3 << 20))
        foreign.chmod(0o600)
        (session / "w-shmperf-000000000002").write_bytes(b"")
        wait_until(lambda: place.stats()["total_calls"] == 1, "the call")
        wait_until(lambda: "segment_refused" in place.stats()["faults"], "the refusal")
    finally:
        remove_memory(foreign.name, None)
    outputs(program, "\n")
    for name in session.glob("w-*"):
        name.unlink()


@AS_ROOT
def test_session_directory_of_another_user_is_refused(place: Place) -> None:
    """Another user's runtime directory is not entered: told once, and the program runs."""
    squatted = place.runtime / "shmperf"
    squatted.mkdir(mode=0o700)
    os.chown(squatted, 65534, 65534)
    program = place.start_program("bad_input/calls")
    out, error = outputs(program)
    assert out == "off 0 0\n"
    assert error.count("belongs to another user") == 1
    shutil.rmtree(squatted)


@AS_ROOT
def test_another_user_cannot_enter_a_session(place: Place) -> None:
    """Directory, socket, memory and files of a session are closed to another uid."""
    program = place.start_program("bad_input/another_user_cannot_enter_session")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (session,) = place.sessions()
    (segment,) = place.segments()
    history = place.storage / "tool_perf.jsonl"
    secrets = [session, session / "control.sock", SHARED_MEMORY / segment, history]
    assert not readable_for_another_user(secrets)
    assert readable_for_another_user([Path("/etc/passwd")])
    for path in secrets:
        assert not path.stat().st_mode & 0o077
    outputs(program, "\n")


def test_second_collector_says_so_and_exits(place: Place) -> None:
    """A second collector for a session, or another session for a storage, is refused clearly."""
    first = place.start_module("collect", "--session", "one", "--storage", "out")
    place.collector_pid("--session", "one")
    for session, told in (("one", "has a collector already"), ("two", "in use by another")):
        second = place.start_module("collect", "--session", session, "--storage", "out")
        _, error = outputs(second)
        assert second.returncode == 1
        assert told in error
        assert len(error.splitlines()) == 1
    first.terminate()
    place.finish(first)


def test_killed_session_is_taken_up_by_the_next_program(place: Place) -> None:
    """kill -9 of worker and collector at once: the next program's collector finds everything."""
    program = place.start_program("bad_input/killed_session_taken_up_by")
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    os.kill(place.collector_pid(), signal.SIGKILL)
    program.kill()
    outputs(program)
    place.run_program("bad_input/calls")
    stats = wait_until(lambda: (s := place.stats())["aborted"] and s, "the burial")
    assert stats["tool_stats"]["tool"]["count"] == 600
    assert stats["tool_stats"]["open"]["aborted"] == 1
    place.wait_for_end()


def test_stopped_collector_goes_on_where_it_was(place: Place) -> None:
    """SIGSTOP of the collector for a while loses nothing that fits the rings."""
    program = place.start_program("bad_input/stopped_collector_goes_on_where")
    assert program.stdin is not None
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    pid = place.collector_pid()
    os.kill(pid, signal.SIGSTOP)
    program.stdin.write("\n")
    program.stdin.flush()
    assert program.stdout.readline() == "done\n"
    os.kill(pid, signal.SIGCONT)
    stats = place.stats()
    assert stats["total_calls"] == 2001
    assert stats["lost"] == {}
    outputs(program, "\n")


def test_doctor_finds_and_removes_memory_of_dead_sessions(place: Place) -> None:
    """Segments whose session is gone are left-overs; ``--fix`` removes them and no others."""
    program = place.start_program(
        "bad_input/doctor_finds_removes_memory_dead",
        SHMPERF_SESSION="orphan",
    )
    assert program.stdout is not None
    assert program.stdout.readline() == "ready\n"
    (segment,) = place.segments()
    (session,) = place.sessions()

    def left_over(*flags: str) -> str:
        rows = place.ask("doctor", *flags)
        return next(row["found"] for row in rows if row["check"] == "left-over segments")

    place.ask("doctor", "--fix")
    assert (SHARED_MEMORY / segment).exists()
    program.kill()
    outputs(program)
    shutil.rmtree(session)
    os.utime(SHARED_MEMORY / segment)

    def is_removed() -> bool:
        # What it found may be another session's, and whoever sweeps beside this test may be the
        # one that removes this one.
        left_over("--fix")
        return not (SHARED_MEMORY / segment).exists()

    wait_until(is_removed, "the left-over to be old enough and removed")


def test_books_of_a_storage_without_collector(place: Place) -> None:
    """Statistics read from disk balance too."""
    place.run_program("bad_input/calls")
    place.wait_for_end()
    found = place.ask("stats")
    assert_books_balance(found)
    assert found["complete"] is True
    assert Path(place.storage).is_dir()


def test_a_flush_by_a_collector_without_memory_says_no(place: Place) -> None:
    """Nothing is flushed or complete while it can't map a worker; then all of it is there."""
    daemon = place.start_module("collect", "--session", "short")
    pid = place.collector_pid("--session", "short")
    assert daemon.pid == pid
    most = resource.prlimit(pid, resource.RLIMIT_AS)
    # What the collector does beside takes some; a worker's memory is a sparse 64 MiB.
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    tight = pages * resource.getpagesize() + (32 << 20)
    resource.prlimit(pid, resource.RLIMIT_AS, (tight, most[1]))
    program = place.start_program("bad_input/asks_for_a_flush", SHMPERF_SESSION="short")
    assert program.stdin is not None
    assert program.stdout is not None

    def ask() -> tuple[bool, dict[str, Any]]:
        program.stdin.write("\n")
        program.stdin.flush()
        flushed, stats = json.loads(program.stdout.readline())
        return flushed, stats

    flushed, stats = ask()
    assert (flushed, stats["total_calls"], stats["complete"]) == (False, 0, False)
    assert (stats["unattached"]["workers"], stats["unattached"]["calls"]) == (1, 3)
    resource.prlimit(pid, resource.RLIMIT_AS, most)
    flushed, stats = ask()
    assert_books_balance(stats)
    assert (flushed, stats["total_calls"], stats["complete"]) == (True, 3, True)
    assert len(place.lines("tool")) == 3
    outputs(program)
    daemon.terminate()
    place.finish(daemon)
