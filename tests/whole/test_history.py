"""Compressed history of real programs: written, read by every command, killed, cleaned up."""

from __future__ import annotations

import csv
import io
import os
import shutil

from shmperf.storage.reading import read
from tests.support import DEADLINE_S, Place, outputs

KEEP = "default_perf_points: -1\nhistory: {segment_lines: 1000}\n"


def keeping(place: Place, count: int, more: str = "") -> None:
    """A program has made so many calls, and its session is over."""
    place.write("config/tool_perf_limits.yaml", KEEP + more)
    imported = place.run_program("history/keep_all", str(count))
    assert imported.strip() == "[]"
    place.wait_for_end()


def numbers(place: Place) -> list[int]:
    """The parameters of all lines, in the order in which they are read."""
    texts = [line["data"]["p"] for line in read(place.storage, "search")]
    return [int(text.strip('{"n:}')) for text in texts]


def segments_of(place: Place) -> list[str]:
    return sorted(path.name for path in place.storage.glob("search_perf.0*"))


def test_every_command_reads_what_is_in_segments(place: Place) -> None:
    """No worker imports zstd; lines, slowest, errors, exports and sizes are those of all calls."""
    keeping(place, 3500)
    assert len(segments_of(place)) == 3
    assert numbers(place) == list(range(3500))
    stats = place.ask("stats", "search")
    assert (stats["count"], stats["current_size"], stats["errors"]) == (3500, 3500, 35)
    assert len(place.ask("slow", "search", "--limit", "3000")) == 3000
    (group,) = place.ask("errors")
    assert group["count"] == 35
    rows = list(csv.DictReader(io.StringIO(place.shmperf("export", "csv"))))
    assert len(rows) == 3500
    middle = rows[1200]["timestamp"]
    since = place.shmperf("export", "csv", "--since", middle)
    expected = [row["id"] for row in rows if row["timestamp"] >= middle]
    assert [row["id"] for row in csv.DictReader(io.StringIO(since))] == expected
    found = place.ask("status")["bytes"]
    assert found["segments"] == sum((place.storage / n).stat().st_size for n in segments_of(place))
    assert found["history"] > 0
    assert "segments" in place.shmperf("status")
    assert place.ask("trace", rows[100]["id"])
    checks = {row["check"]: row["found"] for row in place.ask("doctor")}
    assert "storage.max_bytes" in checks["history"]


def test_a_storage_copied_to_another_machine_reads_and_goes_on(place: Place) -> None:
    """Other inodes, and nothing of a session: lines are there, and those of later calls follow."""
    keeping(place, 2100)
    copy = place.storage.with_name("copy")
    shutil.copytree(place.storage, copy)
    shutil.rmtree(place.storage)
    copy.rename(place.storage)
    keeping(place, 1000)
    assert numbers(place) == [*range(2100), *range(1000)]
    assert place.ask("stats", "search")["current_size"] == 3100


def test_a_cleanup_deletes_segments(place: Place) -> None:
    """By command, at rest: files, segments and figures are gone."""
    keeping(place, 2100)
    assert segments_of(place)
    place.shmperf("cleanup")
    place.wait_for_end()
    assert segments_of(place) == []
    assert list(read(place.storage)) == []
    assert place.stats()["total_calls"] == 0


def test_a_damaged_segment_is_told_in_one_line_by_commands(place: Place) -> None:
    """The command succeeds with what can be read, and says what is missing."""
    keeping(place, 2100)
    path = place.storage / segments_of(place)[0]
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(os.urandom(64))
    process = place.start_module("export", "csv")
    out, err = outputs(process)
    assert process.returncode == 0
    told = [text for text in err.splitlines() if "damaged" in text]
    assert len(told) == 1
    assert told[0].startswith(f"shmperf: {path}")
    assert 1000 < len(out.splitlines()) < 2100


def test_killed_collectors_cost_and_double_no_line(place: Place) -> None:
    """kill -9 of the collector again and again while lines move: every call once."""
    text = KEEP.replace("1000", "100") + "storage: {flush_interval_seconds: 0.05}\n"
    place.write("config/tool_perf_limits.yaml", text)
    told = place.run_program("history/kills_its_collectors", TESTS_DEADLINE_S=str(DEADLINE_S))
    calls, killed = map(int, told.split())
    assert killed == 4
    place.wait_for_end()
    stats = place.stats()
    assert stats["begun"] == calls
    lost = sum(stats["lost"].values())
    found = numbers(place)
    assert len(found) == len(set(found)) == calls - lost == stats["total_calls"]
    assert len(segments_of(place)) > 5
