"""Which answers to scrapes are packed."""

from __future__ import annotations

import pytest

from shmperf.exporters.prometheus import is_worth_packing


@pytest.mark.parametrize(
    ("size", "accepted", "peer", "is_packed"),
    [
        (100_000, "gzip", "192.0.2.7", True),
        (100_000, "deflate, gzip;q=1.0", "2001:db8::7", True),
        (100_000, "gzip", "127.0.0.1", False),
        (100_000, "gzip", "::1", False),
        (100_000, "identity", "192.0.2.7", False),
        (100_000, "", "192.0.2.7", False),
        (100, "gzip", "192.0.2.7", False),
    ],
)
def test_answers_are_packed_for_other_machines(
    size: int, accepted: str, peer: str, is_packed: bool
) -> None:
    """Who understands it, and is far enough away that bytes cost something."""
    assert is_worth_packing(size, accepted, peer) is is_packed
