"""What a storage fills, kind by kind."""

from __future__ import annotations

from pathlib import Path

from shmperf.storage.sizes import bytes_by_kind


def test_every_file_counts_as_what_it_is(tmp_path: Path) -> None:
    """History, segments and the rest, each file once; a link is not followed."""
    files = {
        "a_perf.jsonl": ("history", 5),
        "b.0123_perf.jsonl": ("history", 7),
        "a_perf.000001.jsonl.zst": ("segments", 11),
        "a_perf.000002.jsonl.gz": ("segments", 13),
        "exemplars.jsonl": ("exemplars", 17),
        "alerts.jsonl": ("alerts", 19),
        "optimization/20260101T000000Z.json": ("reports", 23),
        "tools.db": ("tools.db", 29),
        "tools.db-wal": ("tools.db", 31),
        ".shmperf/snapshot": ("journal", 37),
        ".shmperf/journal.3": ("journal", 41),
        ".shmperf/journal.v1/snapshot": ("journal", 43),
        ".shmperf/outbox/0000000000000000.jsonl": ("outbox", 47),
        ".shmperf/rag.log": ("logs", 53),
        "notes.txt": ("other", 59),
    }
    expected: dict[str, int] = {}
    for name, (kind, size) in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
        expected[kind] = expected.get(kind, 0) + size
    assert bytes_by_kind(tmp_path) == expected
    (tmp_path / "elsewhere").symlink_to("/usr")
    assert bytes_by_kind(tmp_path)["other"] < 1000


def test_nothing_fills_nothing(tmp_path: Path) -> None:
    """An empty directory, one that is not there, and a file in its place."""
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "none", tmp_path / "file"):
        assert bytes_by_kind(path) == {}
