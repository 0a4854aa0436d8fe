"""The journal: what was answered for is there after any kill, as byte images of each."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.errors import FormatError, StoreError
from shmperf.stdlib import os
from shmperf.storage.journal import _FRAME, _LONGEST, _LONGEST_SNAPSHOT, Journal, Recovered


def written(path: Path, frames: list[bytes], snapshot: bytes = b"state") -> Journal:
    journal = Journal(path)
    journal.open()
    journal.replace(snapshot)
    for frame in frames:
        journal.append(frame)
    return journal


def recovered(path: Path) -> Recovered:
    return Journal(path).open()


def test_frames_come_back_in_order(tmp_path: Path) -> None:
    """A snapshot and the frames behind it are read as they were written."""
    written(tmp_path, [b"one", b"", b"three"]).close()
    assert recovered(tmp_path) == Recovered(b"state", [b"one", b"", b"three"])


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    """An empty or missing directory holds nothing, and reading it changes nothing."""
    assert Journal(tmp_path / "none").read_only() == Recovered(None, [])
    assert not (tmp_path / "none").exists()
    assert recovered(tmp_path / "new") == Recovered(None, [])


def test_appending_goes_on_after_a_restart(tmp_path: Path) -> None:
    """A second process appends behind the first one's frames."""
    written(tmp_path, [b"one"]).close()
    journal = Journal(tmp_path)
    journal.open()
    journal.append(b"two")
    journal.close()
    assert recovered(tmp_path).frames == [b"one", b"two"]


def test_every_torn_tail_is_cut(tmp_path: Path) -> None:
    """Killed after any part of a frame: the frames before it are there, and writing goes on."""
    written(tmp_path / "whole", [b"one", b"two" * 20]).close()
    (log,) = (tmp_path / "whole").glob("journal.*")
    first = len(log.read_bytes()) - 68
    for end in range(first, len(log.read_bytes())):
        image = tmp_path / f"cut{end}"
        shutil.copytree(tmp_path / "whole", image)
        os.truncate(image / log.name, end)
        journal = Journal(image)
        found = journal.open()
        assert found.frames == [b"one"]
        assert bool(found.damage) == (end > first)
        journal.append(b"next")
        journal.close()
        assert recovered(image) == Recovered(b"state", [b"one", b"next"])


def test_killed_before_the_snapshot_counts_finds_the_old_generation(tmp_path: Path) -> None:
    """A new log without its snapshot, and a snapshot written aside, change nothing."""
    written(tmp_path, [b"one"]).close()
    (log,) = tmp_path.glob("journal.*")
    newer = tmp_path / "journal.2"
    newer.write_bytes(log.read_bytes()[:16])
    (tmp_path / "snapshot.new").write_bytes(b"half")
    assert recovered(tmp_path).frames == [b"one"]
    journal = Journal(tmp_path)
    journal.open()
    journal.replace(b"newer")
    journal.close()
    assert recovered(tmp_path) == Recovered(b"newer", [])


def test_killed_before_the_old_log_is_deleted_finds_the_new_one(tmp_path: Path) -> None:
    """An old log beside a new snapshot is not read."""
    journal = written(tmp_path, [b"one"])
    (log,) = tmp_path.glob("journal.*")
    image = log.read_bytes()
    journal.replace(b"newer")
    journal.close()
    log.write_bytes(image)
    assert recovered(tmp_path) == Recovered(b"newer", [])


def test_deleted_or_exchanged_log_is_noticed(tmp_path: Path) -> None:
    """An append to a file that its name does not lead to fails, until a snapshot is written."""
    for damage in (Path.unlink, lambda path: path.replace(path.with_name("moved"))):
        journal = written(tmp_path, [])
        (log,) = tmp_path.glob("journal.*")
        damage(log)
        for _ in range(2):
            with pytest.raises(StoreError):
                journal.append(b"lost")
        journal.replace(b"whole")
        journal.append(b"one")
        journal.close()
        assert recovered(tmp_path) == Recovered(b"whole", [b"one"])


def test_deleted_directory_is_made_anew(tmp_path: Path) -> None:
    """After the directory has gone, a snapshot makes it again."""
    journal = written(tmp_path / "j", [])
    shutil.rmtree(tmp_path / "j")
    with pytest.raises(StoreError):
        journal.append(b"x")
    journal.replace(b"again")
    assert recovered(tmp_path / "j").snapshot == b"again"


def test_damaged_snapshot_is_set_aside(tmp_path: Path) -> None:
    """A snapshot with a wrong checksum is kept for whoever wants to look, and is told."""
    written(tmp_path, [b"one"]).close()
    snapshot = tmp_path / "snapshot"
    snapshot.write_bytes(snapshot.read_bytes()[:-1] + b"X")
    found = recovered(tmp_path)
    assert found.snapshot is None
    assert found.frames == []
    assert "snapshot" in (found.damage or "")
    assert len(list(tmp_path.glob("snapshot.damaged-*"))) == 1
    assert recovered(tmp_path) == Recovered(None, [])


def test_newer_version_is_refused(tmp_path: Path) -> None:
    """A journal of a newer version names both versions, and nothing of it is touched."""
    written(tmp_path, []).close()
    snapshot = tmp_path / "snapshot"
    content = bytearray(snapshot.read_bytes())
    content[8] = 9
    snapshot.write_bytes(content)
    there = {path: path.read_bytes() for path in tmp_path.iterdir()}
    journal = Journal(tmp_path)
    for attempt in (journal.open, journal.read_only, lambda: journal.replace(b"own")):
        with pytest.raises(FormatError, match=r"version 9, expected 3"):
            attempt()
    with pytest.raises(StoreError):
        journal.append(b"own")
    journal.close()
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == there


def test_snapshot_is_wanted_when_the_log_has_grown(tmp_path: Path) -> None:
    """The log is replaced at the greater of 4 MiB and twice the last snapshot."""
    journal = written(tmp_path, [])
    for _ in range(4):
        assert not journal.wants_snapshot
        journal.append(b"x" * (1 << 20))
    assert journal.wants_snapshot
    journal.replace(b"y" * (5 << 20))
    for _ in range(9):
        journal.append(b"x" * (1 << 20))
    assert not journal.wants_snapshot
    journal.close()


def test_files_are_private_and_links_are_not_followed(tmp_path: Path) -> None:
    """Everything is 0600 in a 0700 directory; a link in its place is refused."""
    directory = tmp_path / "j"
    written(directory, [b"x"]).close()
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    (log,) = directory.glob("journal.*")
    log.unlink()
    log.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError):
        recovered(directory)
    assert not (tmp_path / "elsewhere").exists()


@settings(max_examples=200)
@given(st.data())
def test_any_damage_is_told_and_never_raised(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever bytes are changed, what is read is a prefix of what was written."""
    directory = tmp_path_factory.mktemp("j")
    frames = [b"one", b"two" * 10, b"three"]
    written(directory, frames).close()
    name = data.draw(st.sampled_from(["snapshot", "journal.1"]))
    content = bytearray((directory / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
    (directory / name).write_bytes(content)
    try:
        found = recovered(directory)
    except FormatError:
        return
    assert found.snapshot in (None, b"state")
    assert found.frames == frames[: len(found.frames)]


@pytest.mark.parametrize("size", [0, 7, 16, 20])
def test_killed_before_the_first_snapshot_is_no_obstacle(tmp_path: Path, size: int) -> None:
    """A first log cut anywhere, its header included, opens, and writing goes on."""
    journal = Journal(tmp_path)
    journal.open()
    journal.append(b"one")
    journal.close()
    os.truncate(tmp_path / "journal.0", size)
    again = Journal(tmp_path)
    assert again.open().frames == []
    again.append(b"next")
    again.close()
    assert recovered(tmp_path).frames == [b"next"]


def test_what_a_killed_replacement_left_is_deleted(tmp_path: Path) -> None:
    """Old logs, logs without a snapshot and half a snapshot do not stay for ever."""
    journal = written(tmp_path, [b"one"])
    image = (tmp_path / "journal.1").read_bytes()
    journal.replace(b"newer")
    journal.close()
    for name in ("journal.1", "journal.3", "snapshot.new"):
        (tmp_path / name).write_bytes(image)
    assert recovered(tmp_path) == Recovered(b"newer", [])
    assert {path.name for path in tmp_path.iterdir()} == {"snapshot", "journal.2"}


def test_reading_beside_a_collector_sees_one_generation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot replaced while somebody reads is never seen without its frames."""
    journal = written(tmp_path, [b"one"])
    real_open, waiting = os.open, [b"state and one"]

    def open_after_a_replacement(path: object, flags: int, mode: int = 0o777) -> int:
        if str(path).endswith("journal.1") and waiting:
            journal.replace(waiting.pop())
        return real_open(path, flags, mode)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(os, "open", open_after_a_replacement)
    assert Journal(tmp_path).read_only() == Recovered(b"state and one", [])
    journal.close()


def test_what_could_not_be_read_is_not_overwritten(tmp_path: Path) -> None:
    """A snapshot that can't be opened and its log are renamed, not lost, when a new one begins."""
    written(tmp_path, [b"one"]).close()
    snapshot, log, elsewhere = (tmp_path / name for name in ("snapshot", "journal.1", "elsewhere"))
    content, image = snapshot.read_bytes(), log.read_bytes()
    snapshot.replace(elsewhere)
    snapshot.symlink_to(elsewhere)
    journal = Journal(tmp_path)
    with pytest.raises(StoreError):
        journal.open()
    journal.replace(b"own")
    journal.append(b"two")
    journal.replace(b"own again")
    journal.close()
    assert recovered(tmp_path) == Recovered(b"own again", [])
    unread = {path.read_bytes() for path in tmp_path.glob("unread-*")}
    assert unread == {content, image}


def test_snapshot_longer_than_a_frame_may_be_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """State that has grown while the disk was full is not taken for damage."""
    monkeypatch.setattr("shmperf.storage.journal._LONGEST", 100)
    written(tmp_path, [b"x" * 100], snapshot=b"s" * 1000).close()
    assert recovered(tmp_path) == Recovered(b"s" * 1000, [b"x" * 100])


def test_frame_that_no_reader_would_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame over the bound is a StoreError, and nothing follows it but a snapshot."""
    monkeypatch.setattr("shmperf.storage.journal._LONGEST", 100)
    journal = written(tmp_path, [])
    with pytest.raises(StoreError, match="too long"):
        journal.append(b"x" * 101)
    with pytest.raises(StoreError, match="replaced first"):
        journal.append(b"x")
    journal.replace(b"whole")
    journal.append(b"x")
    journal.close()
    assert recovered(tmp_path) == Recovered(b"whole", [b"x"])


def test_frame_that_no_writer_would_write_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest frame comes back, one that is a byte longer is not believed, nor what follows."""
    written(tmp_path, [b"x" * 100, b"x" * 101, b"next"]).close()
    monkeypatch.setattr("shmperf.storage.journal._LONGEST", 100)
    found = Journal(tmp_path).read_only()
    assert found.frames == [b"x" * 100]
    assert "damaged frame" in (found.damage or "")


def test_snapshot_that_no_reader_would_take_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the longest snapshot there is a StoreError, and what was there before still counts."""
    monkeypatch.setattr("shmperf.storage.journal._LONGEST_SNAPSHOT", 100)
    journal = written(tmp_path, [b"one"], snapshot=b"s" * 100)
    with pytest.raises(StoreError, match="snapshot of 101 bytes is too long"):
        journal.replace(b"s" * 101)
    with pytest.raises(StoreError, match="replaced first"):
        journal.append(b"lost")
    assert Journal(tmp_path).read_only() == Recovered(b"s" * 100, [b"one"])
    journal.replace(b"t" * 100)
    journal.close()
    assert recovered(tmp_path) == Recovered(b"t" * 100, [])


def test_snapshot_longer_than_the_longest_is_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot is read up to the length that is written, and no further."""
    written(tmp_path, [], snapshot=b"s" * 101).close()
    monkeypatch.setattr("shmperf.storage.journal._LONGEST_SNAPSHOT", 100)
    found = Journal(tmp_path).read_only()
    assert (found.snapshot, "damaged frame" in (found.damage or "")) == (None, True)


def test_longest_lengths_can_be_written_down() -> None:
    """The length before a frame or a snapshot has room for the longest, and is full with that."""
    field = (1 << 32) - 1
    assert _LONGEST <= _LONGEST_SNAPSHOT == field
    assert _FRAME.unpack(_FRAME.pack(_LONGEST_SNAPSHOT, 0)) == (field, 0)


def test_what_a_log_had_grown_to_counts_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A collector that takes over wants a snapshot when its predecessor would have, not later."""
    monkeypatch.setattr("shmperf.storage.journal._LEAST_TURN", 100)
    written(tmp_path, [b"x" * 300], snapshot=b"s" * 200).close()
    journal = Journal(tmp_path)
    journal.open()
    assert not journal.wants_snapshot
    journal.append(b"x" * 100)
    assert journal.wants_snapshot
    journal.close()


@pytest.mark.parametrize("mode", [0o710, 0o740, 0o701, 0o704, 0o777])
def test_directory_that_others_may_enter_becomes_private(tmp_path: Path, mode: int) -> None:
    """A journal's directory is 0700 once it is opened, whatever it was."""
    directory = tmp_path / "j"
    directory.mkdir()
    directory.chmod(mode)
    Journal(directory).open()
    assert directory.stat().st_mode & 0o777 == 0o700


def test_pipe_in_a_files_place_does_not_block(tmp_path: Path) -> None:
    """What is no regular file is refused at once, not waited for."""
    written(tmp_path, []).close()
    (tmp_path / "snapshot").unlink()
    os.mkfifo(tmp_path / "snapshot")
    with pytest.raises(StoreError, match="not ours"):
        Journal(tmp_path).read_only()


def test_log_with_another_in_its_place_is_noticed(tmp_path: Path) -> None:
    """A file of the same name on the same disk is not the log that was opened."""
    journal = written(tmp_path, [])
    (log,) = tmp_path.glob("journal.*")
    shutil.copy(log, tmp_path / "copy")
    (tmp_path / "copy").replace(log)
    with pytest.raises(StoreError, match="exchanged"):
        journal.append(b"lost")
    journal.close()
    assert recovered(tmp_path).frames == []


@pytest.mark.parametrize("name", ["journal.2", "snapshot.new"])
def test_replacement_that_fails_leaves_what_was_there(tmp_path: Path, name: str) -> None:
    """Neither a log nor a snapshot that can't be begun costs the generation that counts."""
    journal = written(tmp_path, [b"one"])
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError):
        journal.replace(b"newer")
    assert Journal(tmp_path).read_only() == Recovered(b"state", [b"one"])
    (tmp_path / name).rmdir()
    journal.replace(b"newer")
    journal.close()
    assert recovered(tmp_path) == Recovered(b"newer", [])
