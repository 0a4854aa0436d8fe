"""What is told to who asks for what is not there."""

from __future__ import annotations

import json

import pytest

from shmperf.commands import table
from shmperf.commands.nearest import did_you_mean
from tests.support import Place, outputs


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("commands/record")
    place.wait_for_end()
    return place


def refused(place: Place, *arguments: str, code: int = 1) -> str:
    """The one line that the command says on standard error; nothing is on standard output."""
    program = place.start_module(*arguments)
    out, error = outputs(program)
    assert (program.returncode, out) == (code, ""), (arguments, out, error)
    (line,) = [line for line in error.splitlines() if not line.startswith("usage: ")]
    assert line.startswith("shmperf: ")
    return line


def test_the_bare_command_shows_all_commands(place: Place) -> None:
    """``shmperf`` alone prints the commands with what they do, and exits as wrong usage does."""
    out = place.shmperf(code=2)
    assert all(row.name in out and row.help in out for row in table.COMMANDS)


def test_the_version_is_one_line(place: Place) -> None:
    """``--version`` prints name and version on standard output."""
    name, number = place.shmperf("--version").split()
    assert name == "shmperf"
    assert number[0].isdigit()


def test_a_misspelt_command_is_told_the_right_one(place: Place) -> None:
    """Wrong usage names the nearest command."""
    assert "did you mean 'stats'?" in refused(place, "stat", code=2)
    assert "did you mean 'inflight'?" in refused(place, "in-flight", code=2)
    assert "--help" in refused(place, "xyzzy", code=2)


@pytest.mark.parametrize("command", ["stats", "slow", "errors"])
def test_an_unknown_tool_is_an_error_that_names_the_nearest(recorded: Place, command: str) -> None:
    """A tool that nobody called is refused, with ``--json`` too, and what is near is named."""
    for flags in ((), ("--json",)):
        assert "did you mean 'leaf'?" in refused(recorded, command, "leav", *flags)
    assert "'zzz' were recorded" in refused(recorded, command, "zzz")
    assert recorded.ask(command, "leaf")


def test_a_tool_that_is_not_tracked_says_so(recorded: Place) -> None:
    """A tool with limit 0 is not there because of its limit."""
    recorded.write("config/tool_perf_limits.yaml", "tool_limits: {silent: 0}\n")
    assert "its limit is 0" in refused(recorded, "stats", "silent")


def test_no_reader_answers_for_a_storage_that_is_not_there(recorded: Place) -> None:
    """A named storage that is missing is an error for every reader, and what is near is named."""
    (recorded.cwd / "empty").mkdir()
    for command in ("stats", "tree", "slow", "errors", "inflight", "status", "mode", "cleanup"):
        for flags in ((), ("--json",)):
            line = refused(recorded, command, "--storage", "perf_dat", *flags)
            assert "no such directory" in line
            assert "did you mean 'perf_data'?" in line
    assert "nothing was recorded there" in refused(recorded, "stats", "--storage", "empty")
    assert str(recorded.storage) in refused(recorded, "stats", "--storage", ".")
    assert "no such directory" in refused(recorded, "export", "csv", "--storage", "nowhere")


def test_where_nothing_was_recorded_nothing_is_created(place: Place) -> None:
    """Readers and ``cleanup`` leave a directory as they found it."""
    for command in ("stats", "tree", "slow", "errors", "inflight", "status", "mode", "stop"):
        refused(place, command)
    for command in ("doctor", "config", "cleanup"):
        place.shmperf(command)
    assert place.ask("cleanup") == {"cleaned": False}
    refused(place, "cleanup", "--force", "--storage", "nowhere")
    assert list(place.cwd.iterdir()) == []


def test_a_tool_with_only_open_calls_has_a_row(place: Place) -> None:
    """A tool none of whose calls has ended is there, with its open calls."""
    program = place.start_program("commands/stays_open")
    assert program.stdout is not None
    assert program.stdout.readline() == "open\n"
    stats = place.stats()
    rows = {name: (row["count"], row["in_flight"]) for name, row in stats["tool_stats"].items()}
    assert rows == {"waiting": (0, 1), "done": (1, 0)}
    assert place.ask("stats", "waiting")["in_flight"] == 1
    assert "waiting" in place.shmperf("stats")
    outputs(program)
    place.wait_for_end()
    ended = json.loads(place.shmperf("stats", "waiting", "--json"))
    assert (ended["count"], ended["in_flight"]) == (1, 0)


def test_what_is_near() -> None:
    """Spelling, case and a part of the name lead to a name; nothing else does."""
    known = ["search_index", "Parse", "read"]
    assert did_you_mean("serach_index", known) == "; did you mean 'search_index'?"
    assert did_you_mean("parse", known) == "; did you mean 'Parse'?"
    assert did_you_mean("index", known) == "; did you mean 'search_index'?"
    assert did_you_mean("zzz", known) == did_you_mean("", known) == did_you_mean("x", []) == ""
