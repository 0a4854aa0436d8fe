"""What commands show on terminals that are narrow or have no UTF-8, and where there is nothing."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import termios

import pytest
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from shmperf.views.columns import Column, Columns
from shmperf.views.encoding import print_what_fits
from tests.support import PYTHON, Place, outputs

READERS = ("stats", "tree", "slow", "errors", "inflight", "status", "doctor")


@pytest.fixture
def recorded(place: Place) -> Place:
    place.run_program("commands/many_shapes")
    place.wait_for_end()
    return place


def on_terminal(place: Place, width: int, *arguments: str, **environ: str) -> str:
    """What a command shows on a terminal of so many columns, without colours."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("4H", 40, width, 0, 0))
    program = subprocess.Popen(
        [PYTHON, "-m", "shmperf", *arguments],
        cwd=place.cwd,
        # A test runner may have said how wide its own terminal is.
        env={**place.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": str(width), **environ},
        stdout=follower,
    )
    os.close(follower)
    out = b""
    try:
        while found := os.read(leader, 100_000):
            out += found
    except OSError:
        pass  # its end, on Linux
    os.close(leader)
    assert program.wait() == 0
    text = out.decode(environ.get("PYTHONIOENCODING", "utf-8"))
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal(recorded: Place, width: int) -> None:
    """Columns are left out where there is no room; each tool keeps one line, and its name."""
    for command in READERS:
        out = on_terminal(recorded, width, command)
        assert max(map(cell_len, out.splitlines())) <= width, command
    rows = on_terminal(recorded, width, "stats").splitlines()
    (row,) = (line for line in rows if "a_tool_whose_name_is" in line)
    # Columns that are shown are whole, each under its title.
    (head,) = (line for line in rows if re.search(r"\btool\b.*\bcalls\b", line))
    figures = re.split(r"\s{2,}", row.strip())
    assert len(figures) == len(head.split())
    assert figures[1] == "3"


def test_a_pipe_gets_everything(recorded: Place) -> None:
    """Without a terminal nothing is cut or left out, and a tool is one line."""
    rows = recorded.shmperf("stats").splitlines()
    (head,) = (line for line in rows if " calls " in line and "avg" in line)
    titles = ["tool", "calls", "avg", "p50", "p95", "p99", "max", "errors", "aborted", "kept"]
    assert head.split() == titles
    assert any("a_tool_whose_name_is_longer_than_a_narrow_terminal_is_wide" in row for row in rows)


@pytest.mark.parametrize(
    "environ",
    [
        {"LC_ALL": "C"},
        {"LC_ALL": "POSIX"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
    ],
)
def test_a_terminal_without_utf8_gets_replacements(
    recorded: Place, environ: dict[str, str]
) -> None:
    """Every command prints ASCII there, and none fails."""
    for command in (*READERS, "config"):
        out = recorded.shmperf(command, **environ)
        assert out.isascii()
        assert out.strip()
    assert "gr??e > ?n?code" in recorded.shmperf("tree", **environ)
    for topic in ("commands", "recording"):
        assert recorded.shmperf("help", topic, **environ).isascii()
    program = recorded.start_module("stats", "grüsse", **environ)
    _, error = outputs(program)
    assert (program.returncode, error.isascii()) == (1, True)


def test_a_narrow_latin_terminal_is_served(recorded: Place) -> None:
    """What its encoding has stays, on a real terminal of 50 columns too."""
    plain = on_terminal(recorded, 50, "tree", PYTHONIOENCODING="latin-1")
    assert "grüße > ünïcode" in plain
    assert max(map(len, plain.splitlines())) <= 50


def test_nothing_is_a_sentence(place: Place) -> None:
    """Where nothing was recorded every reader says so in words, and JSON stays a value."""
    place.shmperf("run", "--", PYTHON, "-c", "import shmperf")
    for command in ("stats", "tree", "slow", "errors", "inflight"):
        first = place.shmperf(command).splitlines()[0]
        assert re.fullmatch(r"no call[a-z ]+", first), (command, first)
        assert place.ask(command) is not None


def test_the_words_of_the_books_are_explained_beneath(recorded: Place) -> None:
    """begun, lost, aborted and kept are said in the lines that show them."""
    out = recorded.shmperf("stats")
    books, said = out.splitlines()[-2:]
    assert "9 begun" in books
    for word in ("begun = ", "lost: ", "aborted: ", "kept: "):
        assert word in said
    one = recorded.shmperf("stats", "fails")
    assert "aborted: " in one
    assert "kept: " in one


def shown(columns: Columns, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width).print(columns)
    return [line for line in out.getvalue().splitlines() if line.strip(" ─")]


def test_what_matters_least_goes_first() -> None:
    """Ranks decide what is left out, titles are never cut, and the first column never goes."""
    columns = [Column("name", 0, 6, is_text=True), Column("a", 2), Column("b", 1)]
    rows = [["a long name", "1", "22"], ["x", "333", "4"]]
    at = {width: shown(Columns(columns, rows), width) for width in (40, 19, 14, 8, 4)}
    assert at[40] == [
        " name            a    b ",
        " a long name     1   22 ",
        " x             333    4 ",
    ]
    assert at[19][1].split() == ["a", "lon…", "1", "22"]
    assert at[14][0].split() == ["name", "b"]
    assert at[8][0].split() == ["name"]
    for width, lines in at.items():
        assert len(lines) == 3
        assert max(map(len, lines)) <= width


def test_very_many_rows_look_like_few() -> None:
    """A table of thousands of rows has the same lines as its beginning."""
    columns = [Column("name", 0, 6, is_text=True), Column("says", 2, is_text=True), Column("n", 1)]
    names = ("tool", "a very long name indeed", "工具工具工具工具", "grüße [red]", "x")
    rows = [
        [f"{names[n % 5]} {n:04}", Text(f"word {n % 7}", "red" if n % 2 else ""), str(n)]
        for n in range(3_000)
    ]
    for width in (60, 32, 24, 13, 9, 5):
        many, few = (shown(Columns(columns, part), width) for part in (rows, rows[-1_000:]))
        assert len(many) == 3_001
        assert many[0] == few[0]
        assert many[-1_000:] == few[1:]


def test_text_is_replaced_one_character_for_one() -> None:
    """Replacements keep columns in their places; a stream of somebody else's is left alone."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_what_fits(stream, {})
    stream.write("5 µs · a–b… → \udcff漢")
    stream.flush()
    assert raw.getvalue() == b"5 us | a-b~ > ??"
    own = io.StringIO()
    print_what_fits(own, {"LC_ALL": "C"})
    own.write("µ")
    assert own.getvalue() == "µ"


@pytest.mark.parametrize("command", READERS)
def test_output_that_nobody_can_take_is_one_line_or_none(recorded: Place, command: str) -> None:
    """Closed, full or left by its reader: no complaint of Python's, and no exit code of its."""
    full = "shmperf: standard output: No space left on device\n"
    for redirected, code, told in (
        (">&-", 0, ""),
        ("> /dev/full", 1, full),
        (">&- 2>&-", 0, ""),
        ("> /dev/full 2> /dev/full", 1, ""),
        ("--json > /dev/full", 1, full),
    ):
        found = in_shell(recorded, f"exec {PYTHON} -m shmperf {command} {redirected}")
        assert found == (code, "", told), redirected
    piped = f"({PYTHON} -m shmperf {command}; echo $? >&2) | true"
    assert in_shell(recorded, piped) in {(0, "", "0\n"), (0, "", "1\n")}


def test_run_exits_as_the_command_whoever_reads_its_summary(place: Place) -> None:
    """A summary that can't be written is no failure of the command."""
    for redirected in ("2> /dev/full", "2>&-", ">&- 2>&-", "> /dev/full 2> /dev/full"):
        found = in_shell(place, f"exec {PYTHON} -m shmperf run {redirected} -- sh -c 'exit 7'")
        assert found == (7, "", ""), redirected


def in_shell(place: Place, text: str) -> tuple[int, str, str]:
    """Exit code and outputs of a shell's command line."""
    program = place.start("sh", "-c", text)
    out, err = outputs(program)
    return program.returncode, out, err


def test_text_is_no_markup(place: Place) -> None:
    """What reads like a style, or like the name of an emoji, is shown as it is."""
    place.run_program("commands/reads_like_markup")
    place.wait_for_end()
    same = str(place.storage)
    for words in (("stats",), ("tree",), ("slow",), ("errors",), ("trace", "[x] a:b:c")):
        shown = place.shmperf(*words)
        assert "[x] a:b:c" in shown, words
        if words[0] in ("slow", "trace"):
            assert "[/b] :smile:" in shown, words
    assert "[x] a:b:c" in place.shmperf("diff", same, same)
