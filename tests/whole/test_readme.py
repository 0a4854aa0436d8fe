"""The README is true: its examples run, its commands parse, its table names every room."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

import shmperf
from tests.support import Place

ROOT = Path(shmperf.__file__).parent.parent
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
VENV = "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]'"


@pytest.mark.parametrize("example", EXAMPLES, ids=[str(n) for n in range(len(EXAMPLES))])
def test_examples_run(place: Place, example: str) -> None:
    """Every Python example runs as it stands."""
    place.run_script(example)


def test_the_example_leads_to_what_it_shows(place: Place) -> None:
    """The first example makes the calls that the shown statistics count."""
    place.run_script(EXAMPLES[0])
    counts = {name: row["count"] for name, row in place.stats()["tool_stats"].items()}
    assert counts == {"search": 1000, "fetch": 3000}
    assert "4,000 calls · 0 lost" in README


def test_quick_start_is_complete() -> None:
    """The two commands of a stranger stand there whole."""
    assert f"{VENV} && .venv/bin/shmperf demo" in README
    assert f"{VENV} && .venv/bin/pytest" in README


def test_commands_exist(place: Place) -> None:
    """Every command that is named can say what it does."""
    named = set(re.findall(r"`shmperf ([a-z]+)", README))
    assert named >= {"demo", "run", "collect", "stats", "tree", "doctor"}
    for command in sorted(named):
        assert "usage" in place.shmperf(*shlex.split(command), "--help")


def test_every_room_is_in_the_table() -> None:
    """The table of rooms is complete."""
    table = README.split("## Rooms")[1].split("##")[0]
    named = set(re.findall(r"^\| `([a-z_]+)", table, re.MULTILINE))
    package = ROOT / "shmperf"
    rooms = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py") if path.stem[0] != "_"}
    assert named == rooms | modules - {"errors"}
