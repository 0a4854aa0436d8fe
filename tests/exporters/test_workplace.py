"""Temporary directories: each has its own, and nobody deletes what somebody uses."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from shmperf.exporters.workplace import workplace


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_place_in_use_stays_and_one_that_was_left_goes(temporary: Path) -> None:
    """Whose owner has died is deleted by whoever comes next; others and other things are not."""
    left = temporary / "shmperf-sql-left"
    left.mkdir()
    (left / "records").write_text("large")
    (temporary / "shmperf-sql-file").write_text("no directory")
    with workplace() as first:
        (first / "records").write_text("mine")
        assert not left.exists()
        with workplace() as second:
            assert second != first
            assert (first / "records").read_text() == "mine"
        assert not second.exists()
    assert [path.name for path in temporary.iterdir()] == ["shmperf-sql-file"]


def test_an_error_takes_it_along(temporary: Path) -> None:
    """However it ends, but by a kill."""

    def failing() -> None:
        with workplace() as path:
            (path / "records").write_text("large")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert not list(temporary.iterdir())


def test_it_is_for_its_owner_alone() -> None:
    """Parameters of calls lie there."""
    with workplace() as path:
        assert path.stat().st_mode & 0o777 == 0o700
