"""The command that exports: what it writes, where, and what it says beside."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import stat
from pathlib import Path

import pytest

from shmperf.commands.main import main
from shmperf.errors import StoreError
from shmperf.exporters.output import write_private
from shmperf.exporters.table import EXPORTERS, OF_FIGURES
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


def test_of_another_time_is_not_missing(recorded: Place) -> None:
    """Where a time was asked for it is said how many of all calls are kept, whatever the format."""
    kept = len(recorded.lines("leaf")) + 1
    said = _said(recorded, "folded", "--since", "-1d", "--until", "-1h")[1]
    assert said == f"shmperf: 0 calls; {kept} of 301 calls are kept, of all times\n"
    assert _said(recorded, "csv", "--since", "-1d", "--tool", "top")[1] == ""


def test_every_format_says_how_many_calls_it_has(
    recorded: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """N of M calls, of all tools or of those that were asked for."""
    kept = len(recorded.lines("leaf"))
    monkeypatch.chdir(recorded.cwd)
    for row in EXPORTERS:
        command = ["export", row.name, "--storage", "perf_data", "-o", "calls.file"]
        for chosen, n, of in (([], kept + 1, 301), (["--tool", "leaf"], kept, 300)):
            assert main([*command, *chosen]) == 0
            assert capsys.readouterr().err == f"shmperf: {n} of {of} calls\n", row.name


def test_without_a_format_all_are_listed(recorded: Place) -> None:
    """Each row of the table with what it is for."""
    out, _ = _said(recorded)
    lines = [line.split(maxsplit=1) for line in out.splitlines()[2:]]
    assert lines == [[row.name, row.help] for row in (*EXPORTERS, *OF_FIGURES)]
    told = json.loads(_said(recorded, "--json")[0])
    assert [(row["format"], row["for"]) for row in told] == [tuple(line) for line in lines]


def test_a_dash_is_standard_output(recorded: Place) -> None:
    """Text or bytes, and no file of that name."""
    assert _said(recorded, "csv", "-o", "-")[0] == _said(recorded, "csv")[0]
    command = f"{PYTHON} -m shmperf export parquet -o - > piped.parquet"
    recorded.run("sh", "-c", command)
    assert (recorded.cwd / "piped.parquet").read_bytes()[-4:] == b"PAR1"
    assert not (recorded.cwd / "-").exists()


def test_a_file_is_private_and_whole(recorded: Place) -> None:
    """A file is the same text, replaced as a whole, for its owner's eyes."""
    path = recorded.write("calls.csv", "old")
    path.chmod(0o644)
    told = recorded.ask("export", "csv", "-o", str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text() == _said(recorded, "csv")[0]
    assert told == {"format": "csv", "file": str(path), "calls": told["calls"], "of": 301}
    assert [found.name for found in recorded.cwd.glob(".calls*")] == []


def test_the_name_of_a_file_chooses_the_form(recorded: Place) -> None:
    """Spans as lines of JSON, or as protobuf in a .pb; both have the ids of the same storage."""
    lines = _said(recorded, "otlp", "--tool", "top")[0].splitlines()
    (resource,) = json.loads(lines[0])["resourceSpans"]
    (span,) = resource["scopeSpans"][0]["spans"]
    told = recorded.ask("export", "otlp", "--tool", "top", "-o", "calls.pb")
    content = (recorded.cwd / "calls.pb").read_bytes()
    assert int.from_bytes(content[:4], "big") == len(content) - 4
    assert bytes.fromhex(span["traceId"]) in content
    assert bytes.fromhex(span["spanId"]) in content
    assert told["calls"] == 1


def test_what_is_no_text_needs_a_file(recorded: Place) -> None:
    """Parquet on a terminal would be of no use to anybody."""
    out, said = _said(recorded, "parquet", code=1)
    assert (out, said) == ("", "shmperf: parquet is no text: name a file for it with -o\n")
    recorded.ask("export", "parquet", "-o", "calls.parquet")
    assert (recorded.cwd / "calls.parquet").read_bytes()[:4] == b"PAR1"


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


@pytest.mark.parametrize("flag", ["O_TMPFILE", "none"])
def test_a_failed_export_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str
) -> None:
    """Whatever ends the calls, the file that was there stays, and nothing else is left."""
    # Also where a file has its name from the beginning, as on some file systems.
    monkeypatch.delattr(os, flag, raising=False)

    def chunks() -> object:
        yield b"new"
        raise StoreError("gone")

    path = tmp_path / "calls.csv"
    path.write_bytes(b"old")
    with pytest.raises(StoreError, match="gone"):
        write_private(path, chunks())  # type: ignore[arg-type]  # a generator that fails
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    write_private(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_only_a_plain_file_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, a pipe, a directory, a file in a directory of others: told, and left as it is."""
    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("target")
    Path("dangling").symlink_to("nowhere")
    Path("target").write_text("old")
    os.mkfifo("pipe")
    for name in ("link", "dangling", "pipe", ".", "/", "", "target/below", "x" * 300):
        with pytest.raises(StoreError, match=r"no plain file|Not a directory|name too long"):
            write_private(Path(name), [b"new"])
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("dangling", "link", "pipe", "target")
    ]
    assert Path("target").read_text() == "old"


def test_figures_are_of_all_calls(recorded: Place, tmp_path: Path) -> None:
    """Exact counts whatever is kept; of one tool where that is said; nothing is said beside."""
    out, said = _said(recorded, "openmetrics")
    assert 'shmperf_calls_total{gen_ai_tool_name="leaf"} 300\n' in out
    assert out.endswith("# EOF\n")
    assert said == ""
    path = tmp_path / "metrics"
    out, _ = _said(recorded, "openmetrics", "--tool", "leaf", "-o", str(path), "--json")
    assert json.loads(out) == {"format": "openmetrics", "file": str(path)}
    tools = set(re.findall('gen_ai_tool_name="([^"]*)"', path.read_text()))
    assert tools == {"leaf"}
    assert "all calls" in _said(recorded, "openmetrics", "--since", "-1h", code=1)[1]
    assert "nobody" in _said(recorded, "openmetrics", "--tool", "nobody", code=1)[1]
