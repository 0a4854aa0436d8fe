"""Notes of what a storage could not be told: they hold for one snapshot, and go when old."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from shmperf.files import path_text
from shmperf.session.paths import UNWRITTEN
from shmperf.session.rendezvous import sweep
from shmperf.session.unwritten import (
    Unwritten,
    forget_unwritten,
    note_unwritten,
    read_unwritten,
)


def leave(root: Path, storage: Path, reason: str = "full") -> None:
    note = Unwritten(storage=path_text(storage), snapshot=b"head", begun=7, reason=reason)
    note_unwritten(root, storage, note)


def test_a_note_holds_for_the_snapshot_that_it_names(tmp_path: Path) -> None:
    """A storage that was written since, or made anew, lacks nothing."""
    storage = tmp_path / "perf_data"
    leave(tmp_path, storage, "No space\x1b[31m left" + "x" * 1000)
    note = read_unwritten(tmp_path, storage, b"head")
    assert note is not None
    assert note.begun == 7
    assert note.reason.startswith("No space[31m left")
    assert len(note.reason) <= 300
    assert read_unwritten(tmp_path, storage, b"other") is None
    assert read_unwritten(tmp_path, storage, b"") is None
    assert read_unwritten(tmp_path, tmp_path / "elsewhere", b"head") is None
    forget_unwritten(tmp_path, storage)
    forget_unwritten(tmp_path, storage)
    assert read_unwritten(tmp_path, storage, b"head") is None


@pytest.mark.parametrize(
    "content", [b"", b"\xc1", msgspec.msgpack.encode({"storage": 1}), b"x" * (1 << 21)]
)
def test_a_damaged_note_is_none(tmp_path: Path, content: bytes) -> None:
    """Nothing read from a file is believed."""
    storage = tmp_path / "perf_data"
    leave(tmp_path, storage)
    (path,) = tmp_path.glob(f"{UNWRITTEN}*")
    path.write_bytes(content)
    assert read_unwritten(tmp_path, storage, b"head") is None


def test_old_notes_are_swept(tmp_path: Path) -> None:
    """A month after nobody has asked, nobody will."""
    paths = []
    for name in ("old", "young"):
        there = set(tmp_path.glob(f"{UNWRITTEN}*"))
        leave(tmp_path, tmp_path / name)
        paths += set(tmp_path.glob(f"{UNWRITTEN}*")) - there
    old, young = paths
    then = time.time() - 31 * 86_400
    os.utime(old, (then, then))
    sweep(tmp_path)
    assert not old.exists()
    assert young.exists()
