"""
``shmperf help``: the reference, a topic at a time.

A topic is a Markdown file of the package's folder ``help``, which the README links to as well. A
terminal shows it set; a pipe gets the file as it is.
"""

from __future__ import annotations

import json
import os
import sys
from argparse import ArgumentParser, Namespace
from importlib.resources import files
from importlib.resources.abc import Traversable

from rich.markdown import Markdown

from shmperf.errors import ShmperfError
from shmperf.views.terminal import console_for

from . import table
from .nearest import did_you_mean

__all__ = ["add_arguments", "run", "topics"]

_SUFFIX = ".md"


def add_arguments(parser: ArgumentParser) -> None:
    """Its arguments."""
    parser.add_argument("topic", nargs="?", metavar="TOPIC", help="(default: list them)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(given: Namespace) -> int:
    """Do it; the exit code."""
    found = topics()
    if given.topic is None:
        titles = {name: _title(file) for name, file in found.items()}
        _print(titles if given.json else _listed(titles))
        return 0
    if given.topic not in found:
        raise ShmperfError(_unknown(given.topic, list(found)))
    text = found[given.topic].read_text(encoding="utf-8")
    _print({"topic": given.topic, "text": text} if given.json else text)
    return 0


def topics() -> dict[str, Traversable]:
    """The file of each topic, by name."""
    folder = files("shmperf") / "help"
    pages = sorted((page for page in folder.iterdir()), key=lambda page: page.name)
    return {page.name.removesuffix(_SUFFIX): page for page in pages if page.name.endswith(_SUFFIX)}


def _title(page: Traversable) -> str:
    return page.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")


def _listed(titles: dict[str, str]) -> str:
    width = max(map(len, titles))
    rows = [f"    {name.ljust(width)}  {title.replace('`', '')}" for name, title in titles.items()]
    return "\n".join(["shmperf help TOPIC", "", *rows, ""])


def _unknown(topic: str, known: list[str]) -> str:
    if topic in {row.name for row in table.COMMANDS}:
        return f"no topic {topic!r}; for the command: shmperf {topic} --help"
    return f"no topic {topic!r}{did_you_mean(topic, known) or '; shmperf help lists them'}"


def _print(shown: str | dict[str, str]) -> None:
    if isinstance(shown, dict):
        print(json.dumps(shown, indent=2))
    elif shown.startswith("# ") and sys.stdout.isatty() and not os.environ.get("NO_COLOR"):
        console_for(sys.stdout).print(Markdown(shown))
    else:
        print(shown, end="")
