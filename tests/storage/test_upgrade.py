"""A storage directory of the first version, whose bytes lie beside: all of it is taken up."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shmperf.analysis.totals import bucket_of
from shmperf.config.options import Options
from shmperf.storage.journal import Journal, Recovered
from shmperf.storage.state import Ledger, load, stats_on_disk
from shmperf.storage.upgrade import upgraded

V1 = Path(__file__).with_name("v1")
EXPECTED: dict[str, Any] = json.loads((V1 / "expected.json").read_bytes())
# As it was when the bytes were written.
OPTIONS = Options(tool_limits={"all": -1, "few": 3})
# Percentiles come from buckets; everything else is exact.
PERCENTILES = {"p50_s", "p95_s", "p99_s"}


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """A directory as the first version has left it."""
    shutil.copytree(V1 / "history", tmp_path / "perf_data")
    shutil.copytree(V1 / "journal", tmp_path / "perf_data/.shmperf")
    return tmp_path / "perf_data"


def images(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def assert_taken_up(ledger: Ledger) -> None:
    """Everything that the first version knew is known, counts and extremes exactly."""
    state = ledger.state
    edges = [[edge.parent, edge.tool, edge.calls, edge.total_ns] for edge in ledger.tree.graph({})]
    assert sorted(edges, key=str) == EXPECTED["edges"]
    assert msgspec.to_builtins(ledger.errors.known).keys() == EXPECTED["bugs"].keys()
    assert {tool: [call.id for call in kept] for tool, kept in state.kept.items()} == EXPECTED[
        "kept"
    ]
    files = {tool: [file.name, file.size, file.lines] for tool, file in state.files.items()}
    assert files == EXPECTED["files"]
    for tool, durations in EXPECTED["durations"].items():
        totals = ledger.totals.known[tool]
        assert (totals.count, totals.sum_ns) == (len(durations), sum(durations))
        assert (totals.min_ns, totals.max_ns) == (durations[0], durations[-1])
        found = [i for i in sorted(totals.histogram) for _ in range(totals.histogram[i])]
        exact = [bucket_of(duration) for duration in durations]
        assert {one - other for one, other in zip(found, exact, strict=True)} <= {0, 1}


def test_the_first_versions_journal_is_read(storage: Path) -> None:
    """Commands show its totals, tree, errors and kept calls, and change nothing."""
    before = images(storage / ".shmperf")
    ledger, damage = load(storage, OPTIONS)
    assert damage is None
    assert_taken_up(ledger)
    found = stats_on_disk(storage, None, OPTIONS)
    for tool, stats in EXPECTED["stats"]["tool_stats"].items():
        for key, value in stats.items():
            expected = pytest.approx(value, rel=0.05) if key in PERCENTILES else value
            assert found["tool_stats"][tool][key] == expected, (tool, key)
    for key in ("total_calls", "begun", "in_flight", "aborted", "lost", "faults"):
        assert found[key] == EXPECTED["stats"][key]
    assert images(storage / ".shmperf") == before


def test_it_becomes_todays_at_the_next_snapshot_and_is_kept_beside(storage: Path) -> None:
    """Until then its bytes are untouched; afterwards they lie in a directory of their own."""
    place = storage / ".shmperf"
    before = images(place)
    journal, ledger = Journal(place), Ledger(OPTIONS)
    recovered = upgraded(journal.open())
    assert recovered.version == 1
    assert ledger.restore(recovered.snapshot, recovered.frames) is None
    assert images(place) == before
    journal.replace(ledger.encode())
    journal.append(b"\x80")
    journal.close()
    assert images(place / "journal.v1") == before
    assert {path.stat().st_mode & 0o777 for path in (place / "journal.v1").iterdir()} == {0o600}
    again = Journal(place).open()
    assert (again.version, again.frames, again.damage) == (3, [b"\x80"], None)
    taken_up = Ledger(OPTIONS)
    assert taken_up.restore(again.snapshot, again.frames) is None
    assert_taken_up(taken_up)
    assert images(place / "journal.v1") == before


def test_what_was_kept_beside_brings_the_older_program_back(storage: Path, tmp_path: Path) -> None:
    """Moved back in place, it is what the first version knew."""
    journal = Journal(storage / ".shmperf")
    journal.open()
    journal.replace(b"")
    journal.close()
    found = Journal(storage / ".shmperf/journal.v1").read_only()
    shutil.copytree(V1 / "journal", tmp_path / "first")
    assert found == Journal(tmp_path / "first").read_only()
    assert found.version == 1


def test_appending_waits_for_the_snapshot(storage: Path) -> None:
    """A log has frames of one version only."""
    journal = Journal(storage / ".shmperf")
    journal.open()
    with pytest.raises(Exception, match="replaced first"):
        journal.append(b"\x80")
    assert images(storage / ".shmperf") == images(V1 / "journal")


def test_a_killed_taking_up_is_made_anew(storage: Path) -> None:
    """Half a copy beside, and half a new generation: the old one still counts."""
    place = storage / ".shmperf"
    before = images(place)
    (place / "journal.v1").mkdir()
    (place / "journal.v1/snapshot").write_bytes(b"half")
    (place / "journal.3").write_bytes(before["journal.2"][:16])
    (place / "snapshot.new").write_bytes(b"half")
    journal = Journal(place)
    assert journal.open().version == 1
    journal.replace(b"newer")
    journal.close()
    assert images(place / "journal.v1") == before
    assert images(place).keys() == {"snapshot", "journal.3"}
    assert Journal(place).open() == Recovered(b"newer", [])


def test_the_copies_go_when_told(storage: Path) -> None:
    """A clean end deletes them, and follows no link in their place."""
    place = storage / ".shmperf"
    journal = Journal(place)
    journal.open()
    journal.replace(b"newer")
    (storage / "precious").mkdir()
    (place / "journal.v0").symlink_to(storage / "precious")
    journal.drop_older()
    journal.close()
    assert not (place / "journal.v1").exists()
    assert (storage / "precious").is_dir()
    assert Journal(place).open() == Recovered(b"newer", [])


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x93", b"\x01", b"\x81\x01\x01"])
def test_payloads_that_can_not_be_taken_apart_are_left_as_they_are(payload: bytes) -> None:
    """Damage is told by the reader of today's form, and never raised before."""
    found = upgraded(Recovered(payload, [payload], None, 1))
    assert (found.snapshot, found.frames) == (payload, [payload])
    assert "can't be read" in (Ledger(OPTIONS).restore(found.snapshot, found.frames) or "")


@pytest.mark.parametrize(
    "totals", [[1], {"t": 1}, {"t": [1]}, {"t": [1, 0, 0, 0, 1, 1, 1, 0, {"x": 1}]}]
)
def test_damaged_totals_are_told(totals: Any) -> None:
    """Nothing that the first version wrote is passed over in silence."""
    payload = msgspec.msgpack.encode({"totals": totals, "buried": ["w"]})
    found = upgraded(Recovered(None, [payload], None, 1))
    ledger = Ledger(OPTIONS)
    told = ledger.restore(None, found.frames)
    assert told is None if totals == {"t": [1]} else "can't be read" in str(told)
    assert ledger.state.buried == {"w"}
