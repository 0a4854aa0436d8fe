"""The reference on the command line: its topics, one of them, and what is no topic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import shmperf
from shmperf.commands.main import main
from tests.support import PYTHON, Place

HELP = Path(shmperf.__file__).parent / "help"
TOPICS = sorted(path.stem for path in HELP.glob("*.md"))


def test_without_a_topic_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Every file is a topic, with its title."""
    assert main(["help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == TOPICS
    assert main(["help", "--json"]) == 0
    titles = json.loads(capsys.readouterr().out)
    assert list(titles) == TOPICS
    assert all(titles.values())


@pytest.mark.parametrize("topic", TOPICS)
def test_a_pipe_gets_the_text_as_it_is(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is piped is the file."""
    assert main(["help", topic]) == 0
    assert capsys.readouterr().out == (HELP / f"{topic}.md").read_text()


def test_a_terminal_gets_it_set_unless_told_otherwise(place: Place) -> None:
    """Headings and tables are drawn on a terminal; NO_COLOR gives the text as it is."""
    program = (
        "import pty, sys\n"
        "sys.exit(pty.spawn([sys.executable, '-m', 'shmperf', 'help', 'recording']))\n"
    )
    drawn = place.run(PYTHON, "-c", program, TERM="xterm")
    assert "\x1b[" in drawn
    assert "| --- |" not in drawn
    plain = place.run(PYTHON, "-c", program, TERM="xterm", NO_COLOR="1")
    assert "\x1b[" not in plain
    assert "| --- |" in plain


@pytest.mark.parametrize(
    ("topic", "advice"),
    [
        ("recordign", "did you mean 'recording'?"),
        ("stats", "shmperf stats --help"),
        ("../README", "shmperf help lists them"),
        ("\x1b[31m", "shmperf help lists them"),
    ],
)
def test_what_is_no_topic_is_one_line(
    topic: str, advice: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The nearest topic, the command of that name, or where they are listed; exit 1."""
    assert main(["help", topic]) == 1
    shown = capsys.readouterr()
    assert advice in shown.err
    assert shown.err.count("\n") == 1
    assert "\x1b" not in shown.err
    assert not shown.out
