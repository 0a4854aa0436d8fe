"""The table of analyses through the journal: what a row writes, and what no row knows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis import table
from shmperf.analysis.calltree import CallTree
from shmperf.analysis.table import Row
from shmperf.config.options import Options
from shmperf.storage.journal import Journal
from shmperf.storage.state import Frame, Ledger, WorkerState, load

SECOND = 10**9


class Parity:
    """A newcomer's analysis: how many durations were even and odd, in nanoseconds, by tool."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[int, int]] = {}
        self._new: dict[str, tuple[int, int]] = {}

    def add(self, tool: str, durations_ns: list[int]) -> None:
        odd = sum(duration % 2 for duration in durations_ns)
        self._new = _sum(self._new, {tool: (len(durations_ns) - odd, odd)})

    def take_delta(self) -> dict[str, tuple[int, int]] | None:
        delta, self._new = self._new, {}
        self.apply(delta)
        return delta or None

    def apply(self, delta: dict[str, tuple[int, int]]) -> None:
        self.known = _sum(self.known, delta)

    def clear(self) -> None:
        self.known, self._new = {}, {}

    def state(self) -> dict[str, tuple[int, int]]:
        return self.known

    @classmethod
    def restore(cls, state: dict[str, tuple[int, int]]) -> Parity:
        found = cls()
        found.known = state
        return found


def _sum(
    one: dict[str, tuple[int, int]], other: dict[str, tuple[int, int]]
) -> dict[str, tuple[int, int]]:
    nothing = (0, 0)
    tools = one.keys() | other.keys()
    pairs = {tool: (one.get(tool, nothing), other.get(tool, nothing)) for tool in tools}
    return {tool: (a[0] + b[0], a[1] + b[1]) for tool, (a, b) in pairs.items()}


PARITY = Row("parity", 1, Parity, dict[str, tuple[int, int]], dict[str, tuple[int, int]])


def with_rows(monkeypatch: pytest.MonkeyPatch, *more: Row) -> None:
    rows = [row for row in table.ANALYSES if row.name not in {one.name for one in more}]
    monkeypatch.setattr(table, "ANALYSES", (*rows, *more))


@pytest.fixture
def newcomer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program with one more row."""
    with_rows(monkeypatch, PARITY)


def counted(ledger: Ledger, tool: str = "a", durations_ns: tuple[int, ...] = (1, 2, 3)) -> Frame:
    """A frame of finished calls, as the cycle builds and applies one."""
    ledger.totals.of(tool).add(durations_ns, 0, SECOND)
    finished = len(durations_ns)
    frame = Frame(workers={"w": WorkerState(begun=finished, finished=finished)})
    frame.analyses = ledger.analyses.take_deltas()
    ledger.apply(frame, live=True)
    return frame


def encoded(frame: Frame) -> bytes:
    return msgspec.msgpack.encode(frame)


def taken_up(snapshot: bytes | None, frames: list[bytes]) -> Ledger:
    ledger = Ledger(Options())
    assert ledger.restore(snapshot, frames) is None
    return ledger


def written_by_a_newcomer(monkeypatch: pytest.MonkeyPatch) -> tuple[bytes, list[bytes]]:
    """A snapshot and two frames behind it of a program that has one more row."""
    with monkeypatch.context() as patch:
        with_rows(patch, PARITY)
        ledger = Ledger(Options())
        ledger.analyses.of(Parity).add("a", [1, 2, 3])
        counted(ledger)
        snapshot, frames = ledger.encode(), []
        for durations in ([4, 6], [5, 7]):
            ledger.analyses.of(Parity).add("a", durations)
            frames.append(encoded(counted(ledger)))
    return snapshot, frames


@pytest.mark.usefixtures("newcomer")
def test_an_analysis_is_a_file_and_a_row(tmp_path: Path) -> None:
    """What it counts is in the next frame, and there after a restart, from frame and snapshot."""
    journal, ledger = Journal(tmp_path / ".shmperf"), Ledger(Options())
    journal.open()
    ledger.analyses.of(Parity).add("a", [1, 2, 3])
    journal.append(encoded(counted(ledger)))
    assert ledger.analyses.of(Parity).known == {"a": (1, 2)}
    journal.close()
    found, damage = load(tmp_path, Options())
    assert (found.analyses.of(Parity).known, damage) == ({"a": (1, 2)}, None)
    journal.open()
    journal.replace(found.encode())
    found.analyses.of(Parity).add("b", [4])
    journal.append(encoded(counted(found)))
    journal.close()
    again, damage = load(tmp_path, Options())
    assert (again.analyses.of(Parity).known, damage) == ({"a": (1, 2), "b": (1, 0)}, None)


@pytest.mark.usefixtures("newcomer")
def test_a_cleanup_forgets_every_row() -> None:
    """Live and when its frame is read again."""
    ledger = Ledger(Options())
    ledger.analyses.of(Parity).add("a", [1])
    first = counted(ledger)
    cleanup = Frame(cleaned=True)
    ledger.apply(cleanup, live=True)
    assert ledger.analyses.of(Parity).known == {}
    found = taken_up(None, [encoded(first), encoded(cleanup)])
    assert (found.analyses.of(Parity).known, found.totals.known) == ({}, {})


def test_an_unknown_analysis_is_carried_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without its row goes on with its own, and later the row finds all it had."""
    ledger = taken_up(*written_by_a_newcomer(monkeypatch))
    counted(ledger)
    again = taken_up(ledger.encode(), [])
    assert again.totals.known["a"].count == 12
    snapshot = again.encode()
    with_rows(monkeypatch, PARITY)
    assert taken_up(snapshot, []).analyses.of(Parity).known == {"a": (3, 4)}


def test_an_unknown_version_is_carried_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the version that is known here, which begins anew."""
    written = written_by_a_newcomer(monkeypatch)
    with monkeypatch.context() as patch:
        with_rows(patch, PARITY._replace(version=2))
        ledger = taken_up(*written)
        ledger.analyses.of(Parity).add("a", [1])
        counted(ledger)
        snapshot = ledger.encode()
        assert taken_up(snapshot, []).analyses.of(Parity).known == {"a": (0, 1)}
    with_rows(monkeypatch, PARITY)
    assert taken_up(snapshot, []).analyses.of(Parity).known == {"a": (3, 4)}


def test_what_is_carried_along_goes_with_a_cleanup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's figures outlive the order to forget."""
    ledger = taken_up(*written_by_a_newcomer(monkeypatch))
    ledger.apply(Frame(cleaned=True), live=True)
    snapshot = ledger.encode()
    assert b"parity" not in snapshot


@pytest.mark.parametrize("content", [1, "no", [[1]], {"a": "no"}, {"a": [1, 2]}, {1: 2}, None])
@pytest.mark.parametrize("key", [row.key for row in table.ANALYSES if row.name != "totals"])
def test_a_damaged_row_costs_no_other(key: str, content: Any) -> None:
    """In a frame and in a snapshot: it is told, and everything else is taken up."""
    ledger = Ledger(Options())
    frame = counted(ledger)
    frame.analyses[key] = msgspec.Raw(msgspec.msgpack.encode(content))
    found = Ledger(Options())
    assert key in str(found.restore(None, [encoded(frame), encoded(counted(ledger))]))
    assert found.totals.known["a"].count == 6
    fields = msgspec.msgpack.decode(ledger.encode())
    fields["analyses"][key] = (content if content is not None else 0, [])
    assert key in str(found.restore(msgspec.msgpack.encode(fields), [encoded(counted(ledger))]))
    assert found.totals.known["a"].count == 9
    assert found.state.workers["w"].finished == 9
    assert found.analyses.of(CallTree).graph({}) == []
