"""README and reference are true: examples run, commands parse, links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import shmperf
from shmperf.commands.table import COMMANDS
from tests.support import Place

PACKAGE = Path(shmperf.__file__).parent
ROOT = PACKAGE.parent
README = (ROOT / "README.md").read_text()
TOPICS = sorted((PACKAGE / "help").glob("*.md"))
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *TOPICS)}
CODE = re.compile(r"```(\w*)\n(.*?)```", re.DOTALL)
EXAMPLES = [
    pytest.param(text, id=f"{path.stem}-{number}")
    for path, page in PAGES.items()
    for number, (kind, text) in enumerate(CODE.findall(page))
    if kind == "python"
]
VENV = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'"
# Without the figures, which a benchmark writes.
MOST_LINES = 245
FIGURES = re.compile(r"<!-- bench: written.*?<!-- bench: end -->", re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_run(place: Place, example: str) -> None:
    """Every Python example runs as it stands."""
    place.run_script(example)


def test_the_example_leads_to_what_it_shows(place: Place) -> None:
    """The first example makes the calls that the shown statistics count."""
    place.run_script(next(text for kind, text in CODE.findall(README) if kind == "python"))
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"search": 1000, "fetch": 3000}
    assert "4,000 calls · 0 lost" in README


def test_quick_start_is_complete() -> None:
    """The two commands of a stranger stand there whole."""
    assert f"{VENV} && .venv/bin/shmperf demo" in README
    assert f"{VENV} && .venv/bin/pytest" in README


def test_commands_exist(place: Place) -> None:
    """Every command that is named can say what it does, and every command is named."""
    named = set(re.findall(r"`shmperf ([a-z]+)", "".join(PAGES.values())))
    assert named == {row.name for row in COMMANDS}
    for command in sorted(named):
        assert "usage" in place.shmperf(*shlex.split(command), "--help")


def test_the_readme_is_for_people_who_come() -> None:
    """It stays short, and leads to every topic of the reference."""
    assert FIGURES.sub("", README).count("\n") <= MOST_LINES
    assert {path.stem for path in TOPICS} == set(
        re.findall(r"^\| \[([a-z-]+)\]\(shmperf/help/\1\.md\)", README, re.MULTILINE)
    )


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_links_lead_somewhere(path: Path) -> None:
    """A link within the repository names a file that is there, and a heading in it."""
    prose = CODE.sub("", PAGES[path])
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = path.parent / file if file else path
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", text).lower().replace(" ", "-") for text in headings}
            assert anchor in slugs, target


@pytest.mark.parametrize("path", TOPICS, ids=lambda path: path.stem)
def test_a_topic_stands_for_itself(path: Path) -> None:
    """It opens with its title and leads to nothing that an installed package has not got."""
    page = PAGES[path]
    assert page.startswith("# ")
    assert "](../" not in page


def test_no_paragraph_stands_twice() -> None:
    """One place for each fact."""
    paragraphs = [
        part.strip()
        for page in PAGES.values()
        for part in page.split("\n\n")
        if len(part.strip()) > 120
    ]
    assert len(paragraphs) == len(set(paragraphs))


def test_every_room_is_in_the_table() -> None:
    """The table of rooms is complete."""
    table = README.split("## Rooms")[1].split("##")[0]
    named = set(re.findall(r"^\| `([a-z_]+)", table, re.MULTILINE))
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name[0] != "_"}
    modules = {path.stem for path in PACKAGE.glob("*.py") if path.stem[0] != "_"}
    assert named == rooms | modules - {"errors"}
