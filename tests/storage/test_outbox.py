"""The outbox by itself: each row of its crash table as the bytes that a kill leaves."""

from __future__ import annotations

import resource
import shutil
from copy import deepcopy
from pathlib import Path

import pytest

from shmperf.storage.consumer import Consumer, Lines, consumers
from shmperf.storage.outbox import Outbox, OutboxChange, OutboxState, file_name, outbox_of

BOUND = 1 << 20


class Journalled:
    """An outbox, and what a journal would list of it."""

    def __init__(self, storage: Path) -> None:
        self.storage = storage
        self.listed = OutboxState()
        self.reader = Consumer(storage, "reader")
        self.reader.register()
        self.outbox = Outbox(storage)
        self.restart()

    def restart(self) -> None:
        """Killed: the next collector has the files, and what was journalled."""
        self.outbox = Outbox(self.storage)
        self.journal(self.outbox.restore(deepcopy(self.listed)))

    def journal(self, change: OutboxChange | None) -> None:
        """The frame with *change* is on disk."""
        if change is not None:
            change.apply(self.listed)

    def write(self, text: bytes) -> None:
        """A flush that nobody disturbs."""
        self.journal(self.outbox.prepare(BOUND))
        self.journal(self.outbox.append(text))
        self.outbox.commit()

    def read(self) -> list[bytes]:
        """Everything that a reader gets, acknowledged."""
        lines: list[bytes] = []
        while (taken := self.reader.read()) is not None:
            lines += taken.lines
            self.reader.acknowledge(taken)
        return lines

    @property
    def newest(self) -> Path:
        """The file that is written."""
        return outbox_of(self.storage) / file_name(max(self.listed.files))


@pytest.fixture
def journalled(tmp_path: Path) -> Journalled:
    """One with a reader."""
    return Journalled(tmp_path)


def test_killed_after_a_file_was_created(journalled: Journalled) -> None:
    """The empty file that no journal lists goes; lines begin where they would have begun."""
    journalled.outbox.prepare(BOUND)
    assert list(outbox_of(journalled.storage).glob("*.jsonl"))
    journalled.restart()
    assert not list(outbox_of(journalled.storage).glob("*.jsonl"))
    journalled.write(b"1\n2\n")
    assert journalled.read() == [b"1", b"2"]


def test_killed_after_a_wanted_consumer_was_registered(journalled: Journalled) -> None:
    """It is not registered twice, and has every line from there on; so has one who comes itself."""
    journalled.write(b"1\n")
    journalled.outbox.wanted = frozenset(["wanted"])
    journalled.outbox.prepare(BOUND)
    journalled.restart()
    journalled.outbox.wanted = frozenset(["wanted"])
    journalled.write(b"2\n")
    wanted = Consumer(journalled.storage, "wanted")
    wanted.register()
    taken = wanted.read()
    assert taken is not None
    assert (taken.number, taken.lines) == (1, [b"2"])
    wanted.acknowledge(taken)
    journalled.write(b"3\n")
    assert wanted.read() == Lines(2, [b"3"], 0, 0, 6)
    wanted.close()


@pytest.mark.parametrize("more", [b"3\n4\n", b"3\n4", b"{"])
def test_killed_after_lines_were_appended(journalled: Journalled, more: bytes) -> None:
    """What the journal does not list is cut off, and nobody has read it."""
    journalled.write(b"1\n2\n")
    journalled.journal(journalled.outbox.prepare(BOUND))
    with journalled.newest.open("ab") as file:
        file.write(more)
    assert journalled.read() == [b"1", b"2"]
    journalled.restart()
    assert journalled.newest.read_bytes() == b"1\n2\n"
    journalled.write(b"3\n4\n")
    assert journalled.read() == [b"3", b"4"]


def test_killed_after_lines_were_journalled(journalled: Journalled) -> None:
    """They are to be read after the restart, and not before."""
    journalled.journal(journalled.outbox.prepare(BOUND))
    journalled.journal(journalled.outbox.append(b"1\n2\n"))
    assert journalled.reader.read() is None
    journalled.restart()
    assert journalled.read() == [b"1", b"2"]


def test_killed_after_a_file_was_deleted(journalled: Journalled) -> None:
    """Its lines are gone for everybody, and counted; those behind them come."""
    journalled.write(b"1\n2\n")
    journalled.newest.unlink()
    journalled.restart()
    assert journalled.listed.files == {}
    journalled.write(b"3\n")
    assert consumers(journalled.storage)["reader"].dropped == 2
    assert journalled.read() == [b"3"]
    assert (journalled.reader.sent, journalled.reader.dropped) == (1, 2)


@pytest.mark.parametrize("written", [0, 2])
def test_deleted_beneath_a_collector(journalled: Journalled, written: int) -> None:
    """Lines that were there are gone, and counted; what comes then is read by who registers."""
    if written:
        journalled.write(b"1\n2\n")
    else:
        journalled.journal(journalled.outbox.prepare(BOUND))
    shutil.rmtree(outbox_of(journalled.storage))
    journalled.outbox.wanted = frozenset(["reader"])
    journalled.write(b"3\n")
    journalled.restart()
    journalled.write(b"4\n")
    journalled.reader.close()
    journalled.reader.register()
    assert journalled.read() == [b"3", b"4"]
    assert journalled.reader.dropped == 0


def test_killed_before_it_acknowledged(journalled: Journalled) -> None:
    """A consumer's next process gets the same lines under the same numbers."""
    journalled.write(b"1\n2\n")
    taken = journalled.reader.read(1)
    journalled.reader.close()
    journalled.reader.register()
    assert journalled.reader.read(1) == taken
    assert journalled.read() == [b"1", b"2"]


def test_files_are_small_and_go_when_they_were_read(journalled: Journalled) -> None:
    """A file is a sixteenth of the bound; one that all have passed is deleted."""
    for number in range(20):
        journalled.write(b"%d\n" % number + b"x" * (BOUND // 16) + b"\n")
        assert len(journalled.read()) == 2
        assert len(list(outbox_of(journalled.storage).glob("*.jsonl"))) <= 2
    assert journalled.reader.dropped == 0


def test_file_stays_until_its_last_line_was_read(journalled: Journalled) -> None:
    """One line that is not acknowledged keeps its file; with that one the file goes."""
    filler = b"x" * (BOUND // 16)
    files = outbox_of(journalled.storage)
    journalled.write(b"1\n" + filler + b"\n2\n")
    found = []
    for most in (2, 1):
        taken = journalled.reader.read(most)
        assert taken is not None
        journalled.reader.acknowledge(taken)
        for _ in range(2):
            journalled.write(b"later\n")
        found.append(len(list(files.glob("*.jsonl"))))
    assert (taken.lines, found) == ([b"2"], [2, 1])
    assert journalled.read() == [b"later"] * 4
    assert journalled.reader.dropped == 0


def test_oldest_file_goes_beyond_the_bound_and_not_at_it(journalled: Journalled) -> None:
    """What may be held is held, read or not; a byte more costs the oldest file alone."""
    filler = b"x" * (BOUND // 16)
    for number in range(2):
        journalled.write(b"%d\n" % number + filler + b"\n")
    used = sum(file.size for file in journalled.listed.files.values())
    journalled.journal(journalled.outbox.prepare(used))
    taken = journalled.reader.read(1)
    assert taken is not None
    assert taken.lines == [b"0"]
    journalled.journal(journalled.outbox.prepare(used - 1))
    assert journalled.read() == [b"1", filler]
    assert journalled.reader.dropped == 2


def test_full_disk_costs_whole_lines_and_they_are_counted(journalled: Journalled) -> None:
    """A write that stops in the middle is cut back; what comes later is read."""
    journalled.write(b"1\n")
    size = outbox_of(journalled.storage).joinpath("committed").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        journalled.write(b"2" * size + b"\n3\n")
        assert "File too large" in journalled.outbox.problem
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert journalled.newest.read_bytes() == b"1\n"
    journalled.write(b"4\n")
    assert journalled.outbox.problem == ""
    assert journalled.read() == [b"1", b"4"]
    assert journalled.reader.dropped == 2
