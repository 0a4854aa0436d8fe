"""A room of each test's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.testing import Room

from .lab import new_room


@pytest.fixture
def room(tmp_path: Path, runtime: Path) -> Iterator[Room]:
    found = new_room(tmp_path, runtime)
    yield found
    found.close()
