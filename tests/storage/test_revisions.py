"""What a reader of changes is told, whichever collector it has asked before."""

from __future__ import annotations

import msgspec
import pytest

from shmperf.analysis.totals import Totals
from shmperf.config.options import Options
from shmperf.storage.state import Frame, Ledger


def counted(tool: str, count: int = 1) -> Frame:
    totals = Totals()
    totals.add([1_000] * count, 0, 10**18)
    return Frame(analyses={"totals.1": msgspec.Raw(msgspec.msgpack.encode({tool: totals}))})


@pytest.fixture
def ledger() -> Ledger:
    return Ledger(Options())


def test_changes_are_those_after_the_last_look(ledger: Ledger) -> None:
    """A tool is told of once a change, and all of them to whoever has seen nothing."""
    ledger.apply(counted("a"))
    first = ledger.news(-1)
    ledger.apply(counted("b"))
    second = ledger.news(first.revision)
    assert (set(first.totals), set(second.totals)) == ({"a"}, {"b"})
    assert ledger.news(second.revision).totals == {}
    assert set(ledger.news(-1).totals) == {"a", "b"}


@pytest.mark.parametrize("is_snapshot", [False, True])
def test_who_has_asked_another_collector_misses_nothing(ledger: Ledger, is_snapshot: bool) -> None:
    """Revisions of a later one are beyond all of the one before, in frames and in a snapshot."""
    for _ in range(50):
        ledger.apply(counted("a"))
    seen = ledger.news(-1).revision
    later = Ledger(Options())
    frames = [] if is_snapshot else [msgspec.msgpack.encode(counted("a", 50))]
    assert later.restore(ledger.encode() if is_snapshot else None, frames) is None
    assert later.news(seen).totals["a"].count == 50


def test_a_past_that_is_taken_up_late_is_told(ledger: Ledger) -> None:
    """Who has looked before the storage could be read gets what it held."""
    ledger.apply(counted("a"))
    late = Ledger(Options())
    seen = late.news(-1).revision
    assert late.restore(ledger.encode(), []) is None
    assert set(late.news(seen).totals) == {"a"}
