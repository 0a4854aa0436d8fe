"""Failed calls as the collector counts them: every one, by tool and class, whatever is kept."""

from __future__ import annotations

import msgspec
import pytest

from shmperf.analysis.failedtimes import FailedTimes, went_well
from shmperf.analysis.failures import ErrorsKnown
from shmperf.shm.record import DETAIL, Outcome
from shmperf.storage.failing import ErrorGroup, groups_of
from shmperf.storage.history import read
from shmperf.storage.kept import kept_call
from shmperf.storage.state import load
from shmperf.testing import Room, ScriptedWorker


def fail(worker: ScriptedWorker, err: str, kind: int = Outcome.ERROR, n: int = 0) -> str:
    call = worker.begin("few")
    worker.end(call, msgspec.msgpack.encode(({"n": n, "password": "s3cret"}, err)), kind)
    return call.hex


def groups(room: Room, known: ErrorsKnown) -> dict[tuple[str | None, str | None], ErrorGroup]:
    found = groups_of(known, map(kept_call, read(room.storage)))
    return {(one.status, one.err): one for one in found}


def known_on_disk(room: Room) -> ErrorsKnown:
    return load(room.storage, room.collector.options)[0].known_errors()


def figures(
    found: dict[tuple[str | None, str | None], ErrorGroup],
) -> dict[tuple[str | None, str | None], int]:
    assert all(one.calls == one.count for one in found.values())
    return {key: one.count for key, one in found.items()}


def test_every_failed_call_counts_kept_or_not(room: Room) -> None:
    """Of 3 that are kept and 60 that are not: by class and outcome, live and from disk."""
    worker = room.worker(slots=128)
    for number in range(20):
        fail(worker, "KeyError")
        fail(worker, "ValueError", Outcome.TIMEOUT if number % 2 else Outcome.ERROR)
        worker.call("few")
        fail(worker, "CancelledError", Outcome.CANCELLED)
        room.turn()
    worker.begin("few")
    for _ in range(5):
        worker.call("few")
    room.finish()
    expected = {
        ("error", "KeyError"): 20,
        ("error", "ValueError"): 10,
        ("timeout", "ValueError"): 10,
        ("cancelled", "CancelledError"): 20,
        ("aborted", None): 1,
    }
    live = groups(room, room.collector.ledger.known_errors())
    assert figures(live) == expected
    assert groups(room, known_on_disk(room)) == live
    assert room.stats_on_disk()["tool_stats"]["few"]["errors"] == 40


def test_how_long_failed_calls_took_is_known_by_type(room: Room) -> None:
    """Errors and timeouts, as a part of all calls; a collector that is killed counts none twice."""
    worker = room.worker(slots=128)
    for _ in range(10):
        fail(worker, "KeyError")
        fail(worker, "CancelledError", Outcome.CANCELLED)
        fail(worker, "ValueError", Outcome.TIMEOUT)
        worker.call("few")
        room.turn(2)
        room.kill()
    room.turn(2)
    ledger = room.collector.ledger
    times = ledger.analyses.of(FailedTimes).known["few"]
    assert {kind: one.count for kind, one in times.items()} == {"KeyError": 10, "ValueError": 10}
    rest = went_well(ledger.totals.known["few"], times)
    assert (rest.count, rest.errors) == (20, 0)
    assert sum(rest.histogram.values()) + rest.zero_count == 20
    assert ledger.figures(None, 1, complete=True).failed == {"few": times}


def test_a_killed_collector_counts_no_failure_twice_or_not_at_all(room: Room) -> None:
    """Counts are journalled with the records they are of, in frames and in snapshots."""
    worker = room.worker(slots=128)
    for number in range(30):
        fail(worker, "KeyError")
        room.turn()
        fail(worker, "KeyError")
        room.kill(torn=number % 2 == 1)
    room.finish()
    room.kill()
    assert figures(groups(room, known_on_disk(room))) == {("error", "KeyError"): 60}
    assert figures(groups(room, room.collector.ledger.known_errors())) == {
        ("error", "KeyError"): 60
    }


def test_a_cleanup_forgets_failed_calls(room: Room) -> None:
    """What failed before is gone, what fails afterwards counts."""
    worker = room.worker()
    fail(worker, "KeyError")
    room.turn()
    room.collector.cleanup()
    assert groups(room, room.collector.ledger.known_errors()) == {}
    fail(worker, "KeyError")
    room.finish()
    assert figures(groups(room, known_on_disk(room))) == {("error", "KeyError"): 1}


def test_a_group_shows_its_newest_kept_call(room: Room) -> None:
    """Of a class whose calls are not kept any more, the first; secrets are masked in both."""
    worker = room.worker(slots=64)
    first = fail(worker, "KeyError", n=1)
    for number in range(12):
        newest = fail(worker, "ValueError", n=number)
        room.turn()
    room.finish()
    found = groups(room, known_on_disk(room))
    shown = {err: (one.id, one.sample) for (_, err), one in found.items()}
    assert shown == {
        "KeyError": (first, '{"n":1,"password":"***"}'),
        "ValueError": (newest, '{"n":11,"password":"***"}'),
    }
    assert {one.sample_of for one in found.values()} == {"parameters"}


def test_the_message_is_the_sample_where_it_is_recorded(room: Room) -> None:
    """A call recorded in detail tells its message, also once it is not kept any more."""
    worker = room.worker()
    fields = ({"n": 1}, None, None, "KeyError", "the message", None)
    worker.end(worker.begin("few"), msgspec.msgpack.encode(fields), DETAIL | Outcome.ERROR)
    for _ in range(4):
        worker.call("few")
    room.finish()
    (group,) = groups(room, known_on_disk(room)).values()
    assert (group.sample, group.sample_of) == ("the message", "message")


@pytest.mark.parametrize("body", [b"\xc1", b"\x93\1\2\3", b""])
def test_a_failed_call_of_unknown_class_counts(room: Room, body: bytes) -> None:
    """A body that nobody can read costs the class; damage is told once."""
    worker = room.worker()
    worker.end(worker.begin("few"), body, Outcome.ERROR)
    room.finish()
    assert figures(groups(room, known_on_disk(room))) == {("error", None): 1}
    assert room.stats_on_disk()["faults"].get("body_damaged", 0) == int(bool(body))


def test_lines_without_a_journal_are_grouped_as_they_are(room: Room) -> None:
    """History that was copied elsewhere, or written by a former version, shows what it has."""
    worker = room.worker()
    fail(worker, "KeyError")
    room.finish()
    assert figures(groups(room, ErrorsKnown())) == {("error", "KeyError"): 1}
