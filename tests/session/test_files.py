"""Private files of a session: what is not the user's alone is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmperf.errors import SessionError
from shmperf.session.files import check_private


@pytest.mark.parametrize("bit", range(6))
def test_directory_that_anybody_else_may_use_is_refused(tmp_path: Path, bit: int) -> None:
    """Any one right of the group or of others is too much, and the error says what to do."""
    place = tmp_path / "session"
    place.mkdir(mode=0o700)
    check_private(place)
    place.chmod(0o700 | 1 << bit)
    with pytest.raises(SessionError, match=r"others may enter it; run: chmod 700"):
        check_private(place)


def test_what_is_no_directory_is_no_private_one(tmp_path: Path) -> None:
    """A file, and a link to a private directory of ours, are refused; nothing is not there."""
    ours, link, file = (tmp_path / name for name in ("ours", "link", "file"))
    ours.mkdir(mode=0o700)
    link.symlink_to(ours)
    file.touch(mode=0o600)
    for path in (link, file):
        with pytest.raises(SessionError, match="no directory"):
            check_private(path)
    with pytest.raises(FileNotFoundError):
        check_private(tmp_path / "none")
