"""The compiled path's layout, and what it was built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmperf.compiled.build import digest
from shmperf.compiled.chosen import hot, why_not

from .layout_text import made, there


def test_its_layout_is_that_of_the_python_modules() -> None:
    """Who changes the one has the other written: ``python -m tests.worker.layout_text``."""
    assert there().read_text() == made()


def test_it_is_built_from_the_sources_that_are_here() -> None:
    """Who changes these installs anew: ``pip install -e .``."""
    if hot is None:
        pytest.skip(f"no compiled path: {why_not}")
    assert digest(Path(there()).parent) == hot.SOURCES
