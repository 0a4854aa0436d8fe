"""One server of a storage at rest for all tests of a module: what asks changes nothing there."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import Place

from .served import Served
from .visiting import Visit


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A root and its leaves, recorded and at rest, and a server of it."""
    runtime = Path(tempfile.mkdtemp(prefix="sp-", dir="/tmp"))
    place = Place(tmp_path_factory.mktemp("served"), runtime)
    try:
        place.run_program("export/record")
        place.wait_for_end()
        yield Served(place, Visit(place))
    finally:
        place.close()
        shutil.rmtree(runtime, ignore_errors=True)
