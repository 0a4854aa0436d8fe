"""The command that exports: what it writes, where, and what it says beside."""

from __future__ import annotations

import csv
import io
import stat
from pathlib import Path

import pytest

from shmperf.errors import StoreError
from shmperf.exporters.output import write_private
from tests.support import PYTHON, Place


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("export/record")
    place.wait_for_end()
    return place


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def _said(place: Place, *arguments: str, code: int = 0) -> tuple[str, str]:
    program = place.start_module("export", *arguments)
    out = place.finish(program, code=code)
    return out, str(program.error_text)  # type: ignore[attr-defined]  # kept by the place


def test_kept_calls_go_to_standard_output(recorded: Place) -> None:
    """All kept calls, the newest of a limited tool, and on standard error how many those are."""
    out, said = _said(recorded, "csv")
    rows = _rows(out)
    (top,) = [row for row in rows if row["tool"] == "top"]
    kept = recorded.lines("leaf")
    assert [row["id"] for row in rows if row["tool"] == "leaf"] == [c["data"]["id"] for c in kept]
    assert {row["parent"] for row in rows if row["tool"] == "leaf"} == {top["id"]}
    assert said == f"shmperf: {len(rows)} of 301 calls\n"
    assert "hidden" not in out


def test_tools_and_times_choose(recorded: Place) -> None:
    """One tool, no time before now, no parameters."""
    out, said = _said(recorded, "csv", "--tool", "top", "--tool", "top", "--no-parameters")
    assert [(row["tool"], row["params"]) for row in _rows(out)] == [("top", "")]
    assert said == ""
    assert not _rows(_said(recorded, "csv", "--until", "-1d")[0])
    assert len(_rows(_said(recorded, "csv", "--since", "-1d", "--tool=top")[0])) == 1
    assert "expected an ISO time" in _said(recorded, "csv", "--since", "soon", code=2)[1]


def test_a_file_is_private_and_whole(recorded: Place) -> None:
    """A file is the same text, replaced as a whole, for its owner's eyes."""
    path = recorded.write("calls.csv", "old")
    path.chmod(0o644)
    told = recorded.ask("export", "csv", "-o", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == _said(recorded, "csv")[0]
    assert told == {"format": "csv", "file": str(path), "calls": told["calls"], "of": 301}
    assert [found.name for found in recorded.cwd.glob(".calls*")] == []


def test_what_is_wrong_is_one_line(recorded: Place) -> None:
    """A tool that was never called, no storage, no directory for the file: one line, exit 1."""
    for arguments, text in (
        (("csv", "--tool", "laef"), "no calls of 'laef' were recorded; did you mean 'leaf'?"),
        (("csv", "--storage", "nowhere"), "no such directory"),
        (("csv", "-o", "nowhere/calls.csv"), "nowhere/calls.csv: No such file or directory"),
        (("csv", "-o", "/dev/null"), "no plain file"),
    ):
        out, said = _said(recorded, *arguments, code=1)
        assert text in said
        assert said.count("\n") == 1
        assert not out
    _said(recorded, "cvs", code=2)


def test_a_full_disk_at_standard_output_is_one_line(recorded: Place) -> None:
    """What could not be written is said, and nothing follows from the interpreter's own exit."""
    command = f"{PYTHON} -m shmperf export csv > /dev/full"
    program = recorded.start("sh", "-c", command)
    recorded.finish(program, code=1)
    said = str(program.error_text)  # type: ignore[attr-defined]  # kept by the place
    assert said == "shmperf: standard output: No space left on device\n"


def test_a_failed_export_leaves_the_old_file(tmp_path: Path) -> None:
    """Whatever ends the calls, the file that was there stays, and nothing else is left."""

    def chunks() -> object:
        yield b"new"
        raise StoreError("gone")

    path = tmp_path / "calls.csv"
    path.write_bytes(b"old")
    with pytest.raises(StoreError, match="gone"):
        write_private(path, chunks())  # type: ignore[arg-type]  # a generator that fails
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
