"""A server for each test that wants one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .broker import Broker


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A server that is up, without a stream."""
    found = Broker(tmp_path / "broker")
    try:
        yield found.start()
    finally:
        found.close()
