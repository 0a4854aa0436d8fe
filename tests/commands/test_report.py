"""The command that writes a report: what it prints, where the file goes, and what goes wrong."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import PYTHON, Place, program_text
from tests.views.test_report import embedded


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("commands/record")
    place.wait_for_end()
    return place


def _said(place: Place, *arguments: str, code: int = 0) -> str:
    program = place.start_module("report", *arguments)
    place.finish(program, code=code)
    return str(program.error_text)  # type: ignore[attr-defined]  # kept by the place


def test_it_says_where_the_file_is(recorded: Place) -> None:
    """Without flags a file in the working directory, and a line that names it."""
    out = recorded.shmperf("report")
    assert out.startswith("report: shmperf-report.html (")
    page = (recorded.cwd / "shmperf-report.html").read_bytes()
    rows = embedded(page)["parts"]["stats"]["tool_stats"]
    assert {tool: row["count"] for tool, row in rows.items()} == {
        tool: row["count"] for tool, row in recorded.stats()["tool_stats"].items()
    }
    found = recorded.ask("report", "-o", "other.html")
    assert found == {
        "path": "other.html",
        "bytes": (recorded.cwd / "other.html").stat().st_size,
    }


def test_a_pipe_gets_the_page(recorded: Place) -> None:
    """With ``-o -`` the page is all that standard output gets."""
    page = recorded.shmperf("report", "-o", "-")
    assert page.lower().startswith("<!doctype html>")
    assert embedded(page.encode())["report"]["parameters"]
    assert not (recorded.cwd / "shmperf-report.html").exists()
    said = json.loads(_said(recorded, "-o", "-", "--json"))
    assert said == {"path": None, "bytes": pytest.approx(len(page.encode()), rel=0.01)}


def test_masked_values_stay_masked(recorded: Place) -> None:
    """What history does not hold, a report does not either."""
    page = recorded.shmperf("report", "-o", "-").encode()
    assert "hidden" not in json.dumps(embedded(page))


def test_without_parameters_nothing_quotes_them(place: Place) -> None:
    """Of a run in detail, with its advice: neither parameters nor messages are in the file."""
    program = place.start_program("views/tells")
    place.ask("status", "--wait")
    place.shmperf("optimize", "--calls", "200")
    place.finish(program)
    assert "mark of chapter" in place.shmperf("report", "-o", "-")
    page = place.shmperf("report", "-o", "-", "--no-parameters")
    found = embedded(page.encode())
    assert "mark of chapter" not in page
    (name,) = [key for key in found["parts"] if key.startswith("reports/")]
    assert found["parts"][name]["advice"]
    assert found["parts"]["errors"][0]["err"] == "ValueError"


def test_a_report_of_a_live_session_has_its_open_calls(place: Place) -> None:
    """What hangs now is in the report, though nothing of it has been written."""
    program = place.start_program("commands/stays_open")
    assert program.stdout is not None
    program.stdout.readline()
    found = embedded(place.shmperf("report", "-o", "-").encode())
    (call,) = found["parts"]["inflight"]
    assert [one["id"] for one in found["look"]["open"]] == [call["id"]]
    told = found["parts"][f"trace/{call['id']}"]["call"]
    assert (told["status"], [one["tool"] for one in told["children"]]) == ("open", ["done"])


@pytest.mark.parametrize("source", ["perf_data", "perf_data@-1h..", "before.json"])
def test_against_is_whatever_diff_compares(recorded: Place, source: str) -> None:
    """A directory, a time in one, or a file of statistics; what is no such is told in a line."""
    recorded.write("before.json", json.dumps(recorded.stats()))
    page = recorded.shmperf("report", "-o", "-", "--against", source).encode()
    compared = recorded.ask("diff", source, "--storage", "perf_data")["tools"]
    changes = embedded(page)["changes"]
    assert changes["against"] == source
    assert {tool: one["verdict"] for tool, one in changes["tools"].items()} == {
        tool: one["verdict"] for tool, one in compared.items()
    }


def test_what_is_wrong_is_one_line(recorded: Place) -> None:
    """No storage, no other run, no place for the file: exit 1, a line, and no file."""
    for arguments, expected in (
        (("--storage", "nowhere"), "nowhere"),
        (("--against", "nowhere"), "nowhere"),
        (("-o", "no/where.html"), "No such file"),
        (("-o", "."), "no plain file"),
    ):
        said = _said(recorded, *arguments, code=1)
        assert said.count("\n") == 1, said
        assert expected in said
    assert not (recorded.cwd / "shmperf-report.html").exists()
    _said(recorded, "--against", code=2)


@pytest.fixture
def small_files(recorded: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # A module compiled meanwhile would be cut off as well, for all who import it later.
    recorded.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_report(recorded: Place, small_files: None) -> None:
    """Where there is no room for all of it, what was there before stays, and nothing beside it."""
    report = Path(recorded.write("shmperf-report.html", "the old one"))
    before = set(recorded.cwd.iterdir())
    said = _said(recorded, code=1)
    assert said.startswith("shmperf: shmperf-report.html: ")
    assert said.count("\n") == 1
    assert report.read_text() == "the old one"
    assert set(recorded.cwd.iterdir()) == before


def test_damaged_history_is_read_past(recorded: Place) -> None:
    """Lines that are none are passed over, and the report has what the others say."""
    with (recorded.storage / "leaf_perf.jsonl").open("ab") as file:
        file.write(b'{"tool":"leaf"\n\xff\xfe\n')
    found = embedded(recorded.shmperf("report", "-o", "-").encode())
    assert found["look"]["total_calls"] == recorded.stats()["total_calls"]


def test_nothing_recorded_is_said(place: Place) -> None:
    """Where nothing was recorded there is no report of nothing."""
    assert "nothing was recorded" in _said(place, code=1)


def test_run_ends_with_a_page(place: Place) -> None:
    """What the command did is in the file, which is named last; its exit code stays its own."""
    program = place.write("program.py", program_text("commands/record") + "raise SystemExit(7)\n")
    run = place.start_module("run", "--report", "run.html", "--", PYTHON, str(program))
    place.finish(run, code=7)
    said = str(run.error_text)  # type: ignore[attr-defined]  # kept by the place
    assert "page: run.html (" in said
    found = embedded((place.cwd / "run.html").read_bytes())
    assert found["parts"]["stats"]["tool_stats"]["leaf"]["count"] == 5
    assert found["parts"]["stats"]["complete"]


def test_a_page_that_can_not_be_written_changes_no_exit_code(place: Place) -> None:
    """A line says so; the command went well, and so does the run."""
    program = place.write("program.py", program_text("commands/record"))
    run = place.start_module("run", "--report", "no/run.html", "--", PYTHON, str(program))
    place.finish(run)
    said = str(run.error_text)  # type: ignore[attr-defined]  # kept by the place
    assert said.count("shmperf: no/run.html: No such file or directory") == 1
