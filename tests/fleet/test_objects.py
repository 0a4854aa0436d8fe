"""Objects in a directory and in a bucket: whole or not at all, and nothing outside."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from shmperf.errors import StoreError
from shmperf.fleet.objects import Bucket, Directory, Missing, Objects, opened_objects

from .storing import bucket_url


@pytest.fixture(params=["directory", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    if request.param == "directory":
        return opened_objects(str(tmp_path / "place"))
    return opened_objects(bucket_url(request.getfixturevalue("s3"), tmp_path.name))


def test_what_is_written_is_there(objects: Objects) -> None:
    """Written over, listed by their directory, deleted twice."""
    assert objects.names("calls") == []
    objects.write("calls/day=1/a", b"one")
    objects.write("calls/day=1/a", b"two" * 100_000)
    objects.write("calls/b", b"")
    objects.write("other/c", b"x")
    assert objects.read("calls/day=1/a") == b"two" * 100_000
    assert objects.read("calls/b") == b""
    assert objects.names("calls") == ["calls/b", "calls/day=1/a"]
    objects.delete("calls/b")
    objects.delete("calls/b")
    with pytest.raises(Missing):
        objects.read("calls/b")
    assert objects.identity() == objects.identity()


@pytest.mark.parametrize("name", ["", "/etc/x", "a/../b", "a//b", "a/", "./a", "a\0b"])
def test_names_stay_inside(objects: Objects, name: str) -> None:
    """What leads out of the place is refused."""
    for do in (objects.read, objects.delete, lambda name: objects.write(name, b"")):
        with pytest.raises(StoreError):
            do(name)


def test_a_directory_is_private_and_told_apart_by_its_mark(tmp_path: Path) -> None:
    """0600 in 0700; one of the same name elsewhere is another place; many at once make one mark."""
    one = Directory(tmp_path / "one")
    one.write("a/b/c", b"x")
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in one.root.rglob("*")}
    assert set(modes.values()) == {0o700, 0o600}
    other = tmp_path / "other"
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(Directory(other).identity())) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert found[0] != one.identity()
    assert [path.name for path in other.iterdir()] == ["fleet"]


def test_a_full_disk_leaves_nothing_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the object nor what was to become it; what was there stays."""
    objects = Directory(tmp_path / "place")
    objects.write("a", b"before")
    real = os.write

    def full(fd: int, body: bytes) -> int:
        if len(body) > 3:
            return real(fd, body[:3])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StoreError, match="No space left"):
        objects.write("a", b"afterwards")
    monkeypatch.undo()
    assert objects.read("a") == b"before"
    assert [path.name for path in objects.root.iterdir()] == ["a"]


def test_links_are_not_followed(tmp_path: Path) -> None:
    """Neither to read, nor to list."""
    objects = Directory(tmp_path / "place")
    objects.write("d/a", b"x")
    (objects.root / "d" / "link").symlink_to("/etc/passwd")
    assert objects.names("d") == ["d/a"]
    with pytest.raises(StoreError):
        objects.read("d/link")


@pytest.mark.parametrize(
    "url", ["s3://", "s3:///x", "s3://key:secret@bucket/x", "s3://bucket/x?secret_key=hush"]
)
def test_a_bucket_that_can_not_be_used_is_refused(url: str) -> None:
    """In one line, without what may be a secret."""
    with pytest.raises(StoreError) as refused:
        opened_objects(url)
    assert "hush" not in str(refused.value)
    assert "key:" not in str(refused.value)


def test_a_bucket_that_is_not_there_or_answers_nothing(s3: str) -> None:
    """Each is a StoreError in bounded time, in one line."""
    absent = Bucket(f"s3://absent/x?endpoint_override={s3}&scheme=http&region=eu-west-1")
    nobody = Bucket("s3://b/x?endpoint_override=127.0.0.1:9&scheme=http&region=eu-west-1")
    for one in (absent, nobody):
        with pytest.raises(StoreError) as refused:
            one.write("a", b"x")
        assert "\n" not in str(refused.value)


def test_a_bucket_that_kept_half_has_failed(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size of what is there is asked for."""
    bucket = Bucket(bucket_url(s3, "half"))
    real: Any = bucket.filesystem

    class Halving:
        def open_output_stream(self, path: str) -> Any:
            stream = real.open_output_stream(path)
            whole = stream.write

            class Stream:
                def write(self, body: bytes) -> None:
                    whole(body[: len(body) // 2])

                close = staticmethod(stream.close)

            return Stream()

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    bucket.filesystem = Halving()
    with pytest.raises(StoreError, match="5 of 10 bytes"):
        bucket.write("a", b"0123456789")
