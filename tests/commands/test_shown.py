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
    columns = [Column("name", is_text=True), Column("n", 1)]
    rows = [[f"tool_{n:04}", str(n)] for n in range(3_000)]
    many, few = (shown(Columns(columns, part), 40) for part in (rows, rows[-10:]))
    assert len(many) == 3_001
    assert many[-10:] == few[1:]


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
