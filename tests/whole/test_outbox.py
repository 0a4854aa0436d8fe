"""A real consumer of the outbox beside real workers: killed, slow, come again."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from shmperf.errors import StoreError
from shmperf.storage.consumer import Consumer
from tests.support import Place, assert_books_balance, outputs, wait_until

CONFIG = "tool_limits: {kept: -1}\nstorage: {flush_interval_seconds: 0.05, batch_size: 20}\n"


def lines_of(received: Path) -> dict[int, dict[str, Any]]:
    """What the other system has, by number; a number that came twice said the same both times."""
    got: dict[int, dict[str, Any]] = {}
    rows = received.read_bytes()
    # Behind the last end of a line somebody is writing.
    for row in rows[: rows.rfind(b"\n") + 1].splitlines():
        number, _, text = row.partition(b" ")
        line = json.loads(text)
        assert got.setdefault(int(number), line) == line
    return got


def calls_of(received: Path) -> list[dict[str, Any]]:
    """The calls among them, in order; an interval's totals may have come between them."""
    got = sorted(lines_of(received).items())
    return [line for _, line in got if line["kind"] == "call"]


def test_killed_consumer_and_collector_cost_no_line(place: Place) -> None:
    """kill -9 of either, again and again: the other system has every call once, and in order."""
    place.write("config/tool_perf_limits.yaml", CONFIG)
    received = place.cwd / "received"
    storage = str(place.storage)
    consumer = place.start_program("outbox/consume", storage, str(received), "0.001")
    assert consumer.stdout is not None
    assert consumer.stdout.readline() == "registered\n"
    program = place.start_program("end_to_end/killed_collector_costs_no_line")
    assert program.stdout is not None
    assert program.stdin is not None
    expected: list[str] = []
    for turn in range(60):
        expected += program.stdout.readline().split()
        if turn % 12 == 5:
            os.kill(place.collector_pid(), signal.SIGKILL)
        if turn % 12 == 9:
            consumer.kill()
            outputs(consumer)
            # Slower and slower: what it can't take waits for it.
            pause_s = str(0.001 * turn)
            consumer = place.start_program("outbox/consume", storage, str(received), pause_s)
        program.stdin.write("\n")
        program.stdin.flush()
    outputs(program)
    assert_books_balance(place.stats())
    wait_until(lambda: len(calls_of(received)) == len(expected), "the last line")
    consumer.kill()
    outputs(consumer)
    place.wait_for_end()
    got = lines_of(received)
    assert sorted(got) == list(range(len(got)))
    ids = [line["data"]["id"] for line in calls_of(received)]
    assert sorted(ids) == sorted(expected)
    (progress,) = place.ask("status")["consumers"].values()
    assert (progress["sent"], progress["lag"], progress["dropped"]) == (len(got), 0, 0)


def test_only_one_process_reads_under_a_name(tmp_path: Path) -> None:
    """A second one is refused while the first lives, and goes on where that stopped."""
    first, second = Consumer(tmp_path, "system"), Consumer(tmp_path, "system")
    first.register()
    with pytest.raises(StoreError, match="it is running"):
        second.register()
    first.close()
    second.register()
    assert second.read() is None
    second.close()


@pytest.mark.parametrize("name", ["", "a/b", "../x", "A", "x" * 41, ".x", "a\n"])
def test_names_that_are_no_short_words_are_refused(tmp_path: Path, name: str) -> None:
    """A consumer's name is part of a file's."""
    with pytest.raises(ValueError, match="up to 40 of"):
        Consumer(tmp_path, name)
