"""Collections of garbage: known while they last, and no longer, whatever was told of their end."""

from __future__ import annotations

import gc
import sys

import pytest

from shmperf.worker import gcwatch
from shmperf.worker.gcwatch import collecting, is_collecting, watch_collections

pytestmark = pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="collections begin between bytecodes there"
)


class _Looks:
    """Garbage that looks whether it is being collected."""

    def __init__(self, seen: list[bool]) -> None:
        self.itself = self
        self.seen = seen

    def __del__(self) -> None:
        self.seen.append(is_collecting())


def test_a_collection_is_known_from_within() -> None:
    """A finaliser that it calls sees it; before and afterwards there is none."""
    watch_collections()
    seen: list[bool] = []
    assert not is_collecting()
    _Looks(seen)
    gc.collect()
    assert seen == [True]
    assert not is_collecting()


def test_a_collection_whose_end_was_not_told_is_over() -> None:
    """There may be no memory to call back with: it is not taken to last until the next one."""
    watch_collections()
    was_on = gc.isenabled()
    gc.disable()
    try:
        gcwatch._begins("start", {})
        assert collecting
        assert not is_collecting()
        assert not collecting
    finally:
        gc.enable() if was_on else None
