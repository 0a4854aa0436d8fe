"""Which interpreter runs what we start, and what it is told of the program's import path."""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path

import pytest

from shmperf.session.interpreter import PACKAGE_PARENT, python_command

VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def executable(path: Path) -> str:
    path.write_text("")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("name", "is_believed"),
    [
        *[(name, True) for name in ("python", "python3", f"python{VERSION}", "Python")],
        *[(name, True) for name in (f".python{VERSION}-wrapped", f"python{VERSION}-dbg")],
        *[(name, False) for name in ("uwsgi", "gunicorn", "python2.7", "pythonista", "my-python")],
    ],
)
def test_an_interpreter_is_known_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_believed: bool
) -> None:
    """What embeds Python is not run again, nor is another version."""
    path = executable(tmp_path / name)
    monkeypatch.setattr(sys, "executable", path)
    multiprocessing.set_executable(path)
    try:
        found = python_command("pass")[0]
    finally:
        monkeypatch.undo()
        multiprocessing.set_executable(sys.executable)
    assert (found == path) is is_believed


def test_what_multiprocessing_was_told_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that has named its interpreter to multiprocessing has named it to us."""
    path = executable(tmp_path / "interpreter")
    multiprocessing.set_executable(path)
    try:
        assert python_command("pass")[0] == path
    finally:
        multiprocessing.set_executable(sys.executable)


def test_a_frozen_program_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its library is in no form that an interpreter could read."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(OSError, match="shmperf collect --session"):
        python_command("pass")


def test_the_import_path_is_handed_on_but_for_where_it_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This package and every entry, absolute, without the working directory."""
    monkeypatch.setattr(sys, "path", ["", "vendored", "/opt/archive.zip", Path("/no/text")])
    told = python_command("pass", "one")[3].split("\n")
    assert told == [PACKAGE_PARENT, str(Path.cwd() / "vendored"), "/opt/archive.zip"]
    assert python_command("pass", "one")[4:] == ["one"]
