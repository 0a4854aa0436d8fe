"""Viewers of other people, in a real browser, show what was called."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Place, missing, needs

from .browsing import opened_page, served

needs("jsonschema")
needs("playwright")

COUNTERPARTS = Path(os.environ.get("SHMPERF_COUNTERPARTS", "nowhere"))
if not (COUNTERPARTS / "speedscope").is_dir():
    missing("SHMPERF_COUNTERPARTS names no directory that .ci/counterparts has filled")


@pytest.fixture
def exported(place: Place) -> Place:
    """A program's calls: a parent, tasks beside each other, a child in another process."""
    place.write("config/tool_perf_limits.yaml", "default_perf_points: -1\n")
    place.run_program("export/family")
    place.wait_for_end()
    return place


@pytest.fixture
def site(exported: Place) -> Iterator[str]:
    """Where the viewer and the program's directory are served."""
    shutil.copytree(COUNTERPARTS / "speedscope", exported.cwd / "speedscope")
    with served(exported.cwd) as address:
        yield address


def test_speedscope_shows_lanes_and_tools(exported: Place, site: str) -> None:
    """Its schema holds; its page imports the file without an error, and lists the tools."""
    from jsonschema import validate

    exported.ask("export", "speedscope", "-o", "calls.json")
    found = json.loads((exported.cwd / "calls.json").read_text())
    validate(
        found, json.loads((COUNTERPARTS / "speedscope" / "file-format-schema.json").read_text())
    )
    url = f"{site}/speedscope/index.html#profileURL={site}/calls.json&title=calls"
    with opened_page(url) as page:
        page.get_by_text(f"calls (1/{len(found['profiles'])})").wait_for()
        page.get_by_text("Sandwich").click()
        for tool in ("gather", "step"):
            page.get_by_text(tool, exact=True).first.wait_for()
