"""A real browser and a service, which start slowly: each once for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .browsing import browser
from .serving import Service, service_in


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A browser without anything of a user's."""
    with browser() as running:
        yield running


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A program that has called all kinds of tools, and calls when it is told to."""
    with service_in(tmp_path_factory.mktemp("service")) as found:
        found.call("answer", 30)
        found.call("odd", 3)
        yield found
