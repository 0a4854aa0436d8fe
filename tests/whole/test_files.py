"""Private files: how they are opened, checked and read, and how a failure is worded."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from shmperf.errors import StoreError
from shmperf.files import check_ours, internals, open_private, read_private, translated


def test_a_new_file_is_its_owners_alone_and_closed_by_exec(tmp_path: Path) -> None:
    """What we create nobody else can read, whatever the umask, and no executed program gets."""
    before = os.umask(0)
    try:
        fd = open_private(tmp_path / "a", os.O_RDWR | os.O_CREAT)
    finally:
        os.umask(before)
    try:
        assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
        assert not os.get_inheritable(fd)
        assert check_ours(fd).st_size == 0
    finally:
        os.close(fd)


def test_a_link_in_the_files_place_is_refused(tmp_path: Path) -> None:
    """No link leads us to another file, to read or to write it."""
    (tmp_path / "theirs").write_bytes(b"secret")
    (tmp_path / "ours").symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="ours"):
        read_private(tmp_path / "ours")
    with pytest.raises(OSError, match="ours"):
        open_private(tmp_path / "ours", os.O_RDWR | os.O_CREAT)


@pytest.mark.parametrize("flags", [0, os.O_TRUNC, os.O_CREAT | os.O_APPEND])
def test_a_file_with_another_name_is_not_written(tmp_path: Path, flags: int) -> None:
    """A hard link to somebody's file is refused before a byte of that is touched."""
    (tmp_path / "theirs").write_bytes(b"precious")
    (tmp_path / "theirs").chmod(0o644)
    (tmp_path / "ours").hardlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="ours has another name as well"):
        open_private(tmp_path / "ours", os.O_RDWR | flags)
    assert (tmp_path / "theirs").read_bytes() == b"precious"
    assert stat.S_IMODE((tmp_path / "theirs").stat().st_mode) == 0o644


@pytest.mark.parametrize("flags", [os.O_WRONLY, os.O_RDWR | os.O_CREAT, os.O_WRONLY | os.O_TRUNC])
def test_a_file_that_is_written_becomes_private(tmp_path: Path, flags: int) -> None:
    """What others could read is ours alone before anything comes into it; reading changes none."""
    (tmp_path / "a").write_bytes(b"old")
    (tmp_path / "a").chmod(0o666)
    assert read_private(tmp_path / "a") == b"old"
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o666
    os.close(open_private(tmp_path / "a", flags))
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert (tmp_path / "a").read_bytes() == (b"" if flags & os.O_TRUNC else b"old")


def test_a_pipe_in_the_files_place_is_refused_at_once(tmp_path: Path) -> None:
    """Who puts a pipe there does not make us wait for its writer."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PermissionError, match="not ours"):
        read_private(tmp_path / "pipe")


def test_reading_is_bounded(tmp_path: Path) -> None:
    """No more is read than was asked for."""
    (tmp_path / "a").write_bytes(b"abcdef")
    assert read_private(tmp_path / "a", 3) == b"abc"
    assert read_private(tmp_path / "a") == b"abcdef"


def test_a_failure_says_where_and_why_in_a_line() -> None:
    """The system's words where it has some, the error's own where not, after the place."""
    full = translated(OSError(28, "No space left on device", "/x"), "/x", StoreError)
    assert (type(full), str(full)) == (StoreError, "/x: No space left on device")
    assert str(translated(ValueError("embedded null byte"), "a", StoreError)) == (
        "a: embedded null byte"
    )


def test_our_own_place_in_a_storage_has_one_name() -> None:
    """Everything of ours that is no history lies in one directory."""
    assert internals(Path("/data")) == Path("/data/.shmperf")
