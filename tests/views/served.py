"""What the tests of a module share that only look."""

from __future__ import annotations

from typing import NamedTuple

from tests.support import Place

from .visiting import Visit

__all__ = ["Served"]


class Served(NamedTuple):
    """Where something was recorded, and who shows it."""

    place: Place
    visit: Visit
