"""The token of a page: the same the next time, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmperf.errors import StoreError
from shmperf.files import internals
from shmperf.views.web.token import FILE, is_token, token_of


def test_it_survives(tmp_path: Path) -> None:
    """A bookmark opens the page after a restart; only its owner reads the file."""
    token = token_of(tmp_path)
    assert is_token(token)
    assert token_of(tmp_path) == token
    path = internals(tmp_path) / FILE
    assert path.stat().st_mode & 0o777 == 0o600
    assert token_of(tmp_path / "other") != token


@pytest.mark.parametrize("content", ["", "short", "x" * 44, "é" * 43, "a b" * 20])
def test_what_is_no_token_is_made_anew(tmp_path: Path, content: str) -> None:
    """An empty or damaged file would be easy to guess."""
    token_of(tmp_path)
    path = internals(tmp_path) / FILE
    path.write_text(content)
    assert is_token(made := token_of(tmp_path))
    assert path.read_text() == made


def test_what_others_have_read_is_no_secret(tmp_path: Path) -> None:
    """One that is readable by others is made anew, and so is a link to anything."""
    token, path = token_of(tmp_path), internals(tmp_path) / FILE
    path.chmod(0o644)
    second = token_of(tmp_path)
    assert second != token
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(second)
    path.unlink()
    path.symlink_to(elsewhere)
    assert token_of(tmp_path) != second
    assert not path.is_symlink()
    assert elsewhere.read_text() == second


def test_where_none_can_be_kept_is_told(tmp_path: Path) -> None:
    """A directory in its place is somebody's; nothing of it is touched."""
    (internals(tmp_path) / FILE).mkdir(parents=True)
    with pytest.raises(StoreError, match=FILE):
        token_of(tmp_path)
