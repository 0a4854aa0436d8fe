"""Where processes meet: one session a storage, nobody stranded, nobody else let in."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from shmperf.config.options import Options
from shmperf.errors import FormatError, SessionError, SessionGone
from shmperf.files import JOURNAL_HEADER, JOURNAL_MAGIC, JOURNAL_VERSION, refuse_newer
from shmperf.session.claim import StorageClaim
from shmperf.session.files import create_locked, is_locked, let_go
from shmperf.session.paths import named_directory, read_name, runtime_root
from shmperf.session.presence import COMING, HERE, Identity, Presence
from shmperf.session.rendezvous import Request, join, session_of_storage, sessions, sweep
from shmperf.session.session import FIRST_RANDOM, Session, attach
from shmperf.shm.inflight import MOST_BLOCKS
from shmperf.shm.segment import LAYOUT
from tests.support import Place


@pytest.fixture
def request_here(tmp_path: Path, runtime: Path) -> Request:
    return Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)})


@pytest.fixture
def session(request_here: Request) -> Iterator[Session]:
    found = join(request_here)
    yield found
    found.after_fork()


def announced(session: Session) -> str:
    names: list[str] = []
    session.announce(names.append)
    return names[0]


def test_joiners_of_one_storage_meet(request_here: Request, session: Session) -> None:
    """Whoever works in the same directory finds the same session, word and settings."""
    other = join(request_here)
    assert other.directory == session.directory
    session.settings.set_mode(True)
    assert other.word[0] & 1
    assert other.options == Options()
    assert other.storage == Path(request_here.cwd) / "perf_data"


def test_worker_whose_files_were_closed_is_present_again(session: Session, tmp_path: Path) -> None:
    """A program that closes all descriptors drops our lock, and gets its number."""
    presence = session.directory / f"{HERE}{announced(session)}"
    taken = session.membership.presence
    assert taken is not None
    number = taken.descriptor()
    with (tmp_path / "theirs").open("w") as theirs:
        os.dup2(theirs.fileno(), number)
        assert not is_locked(presence)
        session.stay_present()
        assert is_locked(presence)
        session.after_fork()
        assert os.fstat(number).st_ino == os.fstat(theirs.fileno()).st_ino
        os.close(number)
    assert not is_locked(presence)


def test_other_directories_have_other_sessions(
    tmp_path: Path, request_here: Request, session: Session
) -> None:
    """Another storage is another session; the same storage from elsewhere is the same one."""
    elsewhere = msgspec.structs.replace(request_here, cwd=str(tmp_path / "other"))
    assert join(elsewhere).directory != session.directory
    same = msgspec.structs.replace(elsewhere, storage=str(session.storage))
    assert join(same).directory == session.directory


def test_another_runtime_directory_leads_to_the_same_session(
    tmp_path: Path, request_here: Request, session: Session
) -> None:
    """The storage names the session, wherever a program's runtime directory is."""
    (tmp_path / "rt").mkdir(mode=0o700)
    other = msgspec.structs.replace(request_here, environ={"XDG_RUNTIME_DIR": str(tmp_path / "rt")})
    assert join(other).directory == session.directory


def test_published_options_change_the_generation(session: Session) -> None:
    """New settings are seen by one comparison of the session word, and the mode stays."""
    other = attach(session.directory)
    session.settings.set_mode(True)
    before = session.word[0]
    session.settings.publish(Options(default_perf_points=5))
    assert other.word[0] >> 8 == (before >> 8) + 1
    assert other.word[0] & 1
    assert other.settings.reload().default_perf_points == 5


def test_worker_is_present_and_alive_until_its_lock_is_dropped(session: Session) -> None:
    """A presence is named after its segment; this very process is alive in it."""
    segment = announced(session)
    (presence,) = session.presences()
    assert presence.segment == segment
    assert presence.is_alive()
    assert not presence.is_coming
    assert session.presences(known={segment}) == []


def test_presence_without_lock_and_process_is_dead(session: Session) -> None:
    """A free lock and a process that is gone mean death."""
    path = session.directory / "w-shmperf-00000000000a"
    os.close(create_locked(path, msgspec.msgpack.encode(Identity(1 << 22, 5, 0))))
    (presence,) = session.presences()
    assert not presence.is_alive()


def test_process_that_closed_its_descriptors_is_alive(session: Session) -> None:
    """A free lock alone is not death where the process is seen."""
    path = session.directory / "w-shmperf-00000000000b"
    os.close(create_locked(path, msgspec.msgpack.encode(Identity.of_this_process())))
    (presence,) = session.presences()
    assert presence.is_alive()


def test_worker_on_its_way_in_is_not_taken_for_dead(session: Session) -> None:
    """Between creating its file and locking it, and after renaming it, a worker is alive."""
    path = session.directory / f"{COMING}shmperf-00000000000c"
    path.touch(mode=0o600)
    coming = Presence.read(path)
    assert coming is not None
    assert not coming.died_coming()
    path.rename(session.directory / "w-shmperf-00000000000c")
    assert not coming.died_coming()


def test_foreign_names_in_the_directory_are_ignored(session: Session) -> None:
    """Only names of our pattern are presences, and links are not followed."""
    for name in ("w-", "w-shmperf-xyz", "w-shmperf-00000000000G", ".new-x", "w-shmperf-1" * 20):
        (session.directory / name).touch()
    (session.directory / "w-shmperf-00000000000d").symlink_to("/etc/passwd")
    assert session.presences() == []


def test_nobody_leaves_while_somebody_is_in(session: Session) -> None:
    """A session with a worker in it does not end; without one its directory goes."""
    announced(session)
    assert not session.leave()
    for presence in session.presences():
        presence.remove()
    assert session.leave()
    assert not session.directory.exists()
    assert session.leave()


def test_joiner_and_leaver_exclude_each_other(session: Session) -> None:
    """While a joiner holds the directory, nobody leaves; afterwards the joiner starts over."""
    fd = os.open(session.directory, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_SH)
    assert not session.leave()
    os.close(fd)
    assert session.leave()
    with pytest.raises(SessionGone):
        announced(session)


def test_failed_segment_leaves_nothing_behind(session: Session) -> None:
    """A worker whose memory can't be made is not announced."""

    def fail(name: str) -> None:
        raise OSError("no memory")

    with pytest.raises(OSError, match="no memory"):
        session.announce(fail)
    assert session.presences() == []


def test_block_numbers_are_never_given_twice(session: Session, tmp_path: Path) -> None:
    """Numbers come from the storage directory; without it they are random, in a range apart."""
    drawn = [session.next_blocks(3) for _ in range(50)]
    assert sorted(set(drawn)) == drawn
    assert all(b - a == 3 for a, b in pairwise(drawn))
    blocks = session.storage / ".shmperf" / "blocks"
    blocks.write_text("nonsense")
    assert session.next_blocks(1) >= FIRST_RANDOM


def test_one_collector_at_a_time(session: Session) -> None:
    """The lock is given once, and seen from outside."""
    assert not session.has_collector()
    fd = session.try_collector_lock()
    assert fd is not None
    assert session.try_collector_lock() is None
    assert session.has_collector()
    os.close(fd)
    assert not session.has_collector()


def test_storage_belongs_to_one_session_at_a_time(request_here: Request, session: Session) -> None:
    """Another session's collector is refused the storage, in words."""
    fd = session.claim_storage()
    assert fd is not None
    named = msgspec.structs.replace(request_here, name="other")
    with pytest.raises(SessionError, match="in use by another session"):
        join(named).claim_storage()
    os.close(fd)


def test_storage_without_room_for_the_name_is_claimed_when_there_is_some(session: Session) -> None:
    """A claim that came to nothing holds no lock, for which the next one would have to wait."""
    place = session.storage / ".shmperf"
    (place / "session").unlink()
    (place / "session").mkdir()  # a name can't be written here, for root neither
    claim = StorageClaim(session)
    assert not is_locked(place / "collector.lock")
    claim.renew()
    assert not is_locked(place / "collector.lock")
    (place / "session").rmdir()
    claim.renew()
    assert is_locked(place / "collector.lock")
    found = session_of_storage(session.storage)
    assert found is not None
    assert found.directory == session.directory
    found.after_fork()
    claim.release()
    assert not is_locked(place / "collector.lock")


def test_session_that_is_elsewhere_is_not_founded_again(
    request_here: Request, session: Session
) -> None:
    """A storage whose collector runs and whose directory is not reachable is refused."""
    fd = session.claim_storage()
    assert fd is not None
    session.directory.rename(session.directory.with_name("away"))
    with pytest.raises(SessionError, match="another container"):
        join(request_here)
    os.close(fd)
    assert join(request_here).directory != session.directory


def test_stale_token_is_not_joined(session: Session) -> None:
    """A directory with another token is another session."""
    (session.directory / "token").unlink()
    (session.directory / "token").write_text("else")
    assert session_of_storage(session.storage) is None


@pytest.mark.parametrize("name", ["plain", "with space", "../../x", "x" * 1000, "ünï"])
def test_any_text_names_a_session_in_its_place(runtime: Path, name: str) -> None:
    """Session names are safe directories, short enough for a socket."""
    root = runtime_root({"XDG_RUNTIME_DIR": str(runtime)})
    directory = named_directory(root, name)
    assert directory.parent == root
    assert len(str(directory / "control.sock")) < 108


def test_runtime_directory_of_others_is_refused(tmp_path: Path) -> None:
    """A directory that others may enter, or a link, is an error that says what to do."""
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)} if len(str(tmp_path)) < 60 else {}
    if not environ:
        short = Path("/tmp") / f"sq-{os.getpid()}"
        short.mkdir(mode=0o700)
        environ = {"XDG_RUNTIME_DIR": str(short)}
    place = Path(environ["XDG_RUNTIME_DIR"])
    (place / "shmperf").mkdir()
    (place / "shmperf").chmod(0o777)
    with pytest.raises(SessionError, match="chmod 700"):
        runtime_root(environ)
    (place / "shmperf").rmdir()
    (place / "shmperf").symlink_to("/etc")
    with pytest.raises(SessionError, match="belongs to another user or is no directory"):
        runtime_root(environ)
    (place / "shmperf").unlink()
    if place != tmp_path:
        place.rmdir()


def test_sweep_ends_empty_sessions(request_here: Request, session: Session, runtime: Path) -> None:
    """What a dead program left without memory goes; a session with a worker stays."""
    elsewhere = msgspec.structs.replace(request_here, cwd=request_here.cwd + "/other")
    empty = join(elsewhere)
    announced(session)
    root = runtime_root({"XDG_RUNTIME_DIR": str(runtime)})
    assert len(sessions(root)) == 2
    sweep(root)
    assert [found.directory for found in sessions(root)] == [session.directory]
    assert not empty.directory.exists()


def test_configuration_is_taken_up_when_it_changes(tmp_path: Path, runtime: Path) -> None:
    """An edited file gives new options once; the same file gives none."""
    config = tmp_path / "config" / "tool_perf_limits.yaml"
    config.parent.mkdir()
    config.write_text("default_perf_points: 5\n")
    session = join(Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)}))
    assert session.options.default_perf_points == 5
    assert session.settings.changed_options() is None
    config.write_text("default_perf_points: 77\n")
    changed = session.settings.changed_options()
    assert changed is not None
    assert changed.default_perf_points == 77
    assert session.settings.changed_options() is None


def test_a_file_that_nobody_has_edited_is_not_read_again(
    tmp_path: Path, runtime: Path, place: Place
) -> None:
    """A collector knows what its session's founder has read, and sees an edit since."""
    config = tmp_path / "config" / "tool_perf_limits.yaml"
    config.parent.mkdir()
    config.write_text("default_perf_points: 5\n")
    session = join(Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)}))
    place.run_program("session/collector_reads_no_unedited_file", str(session.directory))


def test_founders_in_many_processes_make_one_session(place: Place) -> None:
    """Processes that found at the same instant end up in one session."""
    out = place.run_program("session/founders_many_processes_make_one")
    assert out == "one\n"
    for directory in place.sessions():
        assert attach(directory).leave()


def test_those_who_ask_do_not_take_each_other_for_the_holder(tmp_path: Path) -> None:
    """Two looks at a free lock at the same time both find it free."""
    path = tmp_path / "lock"
    path.touch()
    with path.open() as asker:
        fcntl.flock(asker, fcntl.LOCK_SH)
        assert not is_locked(path)
        fcntl.flock(asker, fcntl.LOCK_EX)
        assert is_locked(path)


def test_lock_let_go_is_free_though_a_fork_has_a_copy(tmp_path: Path) -> None:
    """A descriptor that a fork in another thread has copied does not keep the lock."""
    fd = create_locked(tmp_path / "lock", b"")
    copy = os.dup(fd)
    assert is_locked(tmp_path / "lock")
    let_go(fd)
    assert not is_locked(tmp_path / "lock")
    os.close(copy)


def test_stopped_holder_of_the_numbers_stops_no_worker(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the counter of blocks is locked for too long, numbers are drawn at random."""
    monkeypatch.setattr("shmperf.session.files._BLOCKS_DEADLINE_S", 0.01)
    assert session.next_blocks(3) < FIRST_RANDOM
    with (session.storage / ".shmperf" / "blocks").open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        drawn = [session.next_blocks(3) for _ in range(50)]
    assert all(FIRST_RANDOM <= first <= MOST_BLOCKS - 3 for first in drawn)


def test_stopped_holder_of_the_word_is_told(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who can't change the mode in time says so and does not hang."""
    monkeypatch.setattr("shmperf.session.settings._WORD_DEADLINE_S", 0.01)
    session.settings.set_mode(True)
    with (session.directory / "word.lock").open() as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(SessionError, match="held for too long"):
            session.settings.set_mode(False)


@pytest.mark.parametrize("name", ["settings", "token", "word"])
def test_directory_in_the_place_of_a_file_is_no_session(session: Session, name: str) -> None:
    """What can't be read is refused with the directory's name."""
    (session.directory / name).unlink()
    (session.directory / name).mkdir()
    with pytest.raises(SessionError, match=session.directory.name):
        Session(session.directory)


def test_storage_names_no_relative_directory(session: Session) -> None:
    """A name that depends on who reads it leads nowhere."""
    place = session.storage / ".shmperf"
    (place / "session").write_bytes(msgspec.msgpack.encode(("s-here", session.token)))
    with pytest.raises(SessionError, match="damaged"):
        read_name(place)


def test_directory_removed_by_hand_is_a_session_that_has_gone(session: Session) -> None:
    """A worker that is entering when that happens looks for another session."""

    def make_segment(name: str) -> None:
        shutil.rmtree(session.directory)

    with pytest.raises(SessionGone):
        session.announce(make_segment)


def test_long_runtime_directories_leave_room_for_a_socket(tmp_path: Path) -> None:
    """Whatever is chosen, the path of a named session's socket can be bound."""
    deep = tmp_path / ("d" * 80)
    deep.mkdir(mode=0o700)
    root = runtime_root({"XDG_RUNTIME_DIR": str(deep), "TMPDIR": str(deep)})
    directory = named_directory(root, "ü" * 50)
    assert len(os.fsencode(directory / "control.sock")) <= 103


def test_program_without_standard_files_starts_a_collector(place: Place) -> None:
    """A daemon that has closed its first descriptors gets a collector like anybody else."""
    place.run_program("session/program_without_standard_files_starts")
    place.wait_for_end()
    assert len(place.lines("tool")) == 1


def test_sweep_removes_old_pointers_only(request_here: Request, session: Session) -> None:
    """What a directory led to is forgotten after a week, and found again by the next program."""
    root = session.directory.parent
    (pointer,) = root.glob("p-*")
    session.announce(lambda name: name)
    sweep(root)
    assert pointer.exists()
    os.utime(pointer, (1, 1))
    sweep(root)
    assert not pointer.exists()
    assert join(request_here).directory == session.directory
    assert pointer.exists()


def test_sweep_removes_pointers_to_storages_that_are_gone(
    request_here: Request, session: Session, tmp_path: Path
) -> None:
    """A storage that has been deleted leaves no pointer behind; any other keeps its own."""
    root = session.directory.parent
    elsewhere = Request(str(tmp_path / "elsewhere"), request_here.environ)
    (tmp_path / "elsewhere").mkdir()
    gone = join(elsewhere).storage
    assert len(list(root.glob("p-*"))) == 2
    shutil.rmtree(gone)
    session.announce(lambda name: name)
    sweep(root)
    (left,) = root.glob("p-*")
    assert str(session.storage).encode() in left.read_bytes()


def test_half_written_files_go_when_they_are_old(
    request_here: Request, session: Session, runtime: Path
) -> None:
    """What a process left that was killed while it replaced a small file is removed, once old."""
    place = session.storage / ".shmperf"
    root = runtime / "shmperf"
    left = [place / ".session.0123456789ab", root / ".p-0123456789.0123456789ab"]
    young = place / ".session.ba9876543210"
    others = [place / ".keep", place / ".keep.txt"]
    for path in [*left, young, *others]:
        path.write_bytes(b"half")
    for path in [*left, *others]:
        os.utime(path, (0, 0))
    fd = session.claim_storage()
    assert fd is not None
    os.close(fd)
    sweep(root)
    assert [path.exists() for path in left] == [False, False]
    assert all(path.exists() for path in [young, *others])


def _as_of_another_version(session: Session) -> None:
    """Settings as a version with other segments wrote them, with keys that nobody knows here."""
    path = session.directory / "settings"
    found = msgspec.msgpack.decode(path.read_bytes())
    found["layout"] = 1
    found["options"]["of_later"] = {"anything": 1}
    path.write_bytes(msgspec.msgpack.encode(found))


def test_a_session_of_another_version_is_refused_while_it_lives(
    tmp_path: Path, runtime: Path
) -> None:
    """Who comes is told which command ends it; status and stop can still reach it."""
    request = Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)})
    session = join(request)
    worker = session.announce(lambda name: name)
    _as_of_another_version(session)
    with pytest.raises(SessionError, match=r"another version.*run: shmperf stop --storage"):
        join(request)
    found = session_of_storage(tmp_path / "perf_data")
    assert found is not None
    assert found.is_foreign
    assert not found.start_collector()
    with pytest.raises(SessionError, match="another version"):
        found.settings.publish(Options())
    assert (session.directory / f"{HERE}{worker}").exists()
    session.after_fork()


def _of_layout(session: Session, layout: int) -> None:
    _as_of_another_version(session)
    path = session.directory / "settings"
    found = msgspec.msgpack.decode(path.read_bytes())
    path.write_bytes(msgspec.msgpack.encode(found | {"layout": layout}))


@pytest.mark.parametrize("newer", [False, True])
def test_memory_of_another_version_is_cleared_away_by_newer_ones_alone(
    tmp_path: Path, runtime: Path, newer: bool
) -> None:
    """What a killed program of a newer version has left waits for that version, and is told."""
    request = Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)})
    session = join(request)
    dead = session.directory / f"{HERE}shmperf-{'0' * 12}"
    dead.write_bytes(b"")
    _of_layout(session, LAYOUT + 1 if newer else LAYOUT - 1)
    found = session_of_storage(tmp_path / "perf_data")
    assert found is not None
    assert found.is_newer is newer
    held = found.try_collector_lock()
    assert held is not None
    os.close(held)
    if not newer:
        assert join(request).directory != session.directory
        assert not session.directory.exists()
        return
    sweep(runtime / "shmperf")
    with pytest.raises(SessionError, match="newer shmperf; run that version once more"):
        join(request)
    assert not found.has_collector()
    assert dead.exists()


def test_a_storage_that_a_newer_version_has_written_is_not_joined(
    tmp_path: Path, runtime: Path
) -> None:
    """In one line, and not even a lock file is made there."""
    place = tmp_path / "perf_data/.shmperf"
    place.mkdir(parents=True)
    head = JOURNAL_HEADER.pack(JOURNAL_MAGIC, JOURNAL_VERSION + 1, 7)
    (place / "snapshot").write_bytes(head + b"of a later form")
    for name in (None, "named"):
        request = Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)}, name)
        with pytest.raises(FormatError, match=r"expected 3; use the shmperf that wrote it"):
            join(request)
    assert [path.name for path in place.iterdir()] == ["snapshot"]
    assert list((runtime / "shmperf").iterdir()) == []
    # What is cut short or no journal is for the collector to tell.
    for content in (head[:-1], b"x" * 16):
        (place / "snapshot").write_bytes(content)
        refuse_newer(tmp_path / "perf_data")


def test_a_session_of_another_version_that_is_empty_makes_way(
    tmp_path: Path, runtime: Path
) -> None:
    """After an upgrade the first program founds a session of its own version."""
    request = Request(str(tmp_path), {"XDG_RUNTIME_DIR": str(runtime)})
    session = join(request)
    _as_of_another_version(session)
    found = join(request)
    assert not found.is_foreign
    assert found.directory != session.directory
    assert not session.directory.exists()
