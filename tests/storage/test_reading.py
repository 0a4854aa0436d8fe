"""What commands read of the history: every whole line, and how many are not."""

from __future__ import annotations

from pathlib import Path

from shmperf.storage.kept import rising_floor
from shmperf.storage.reading import read


def test_damaged_lines_are_told_and_left_out(tmp_path: Path) -> None:
    """What can't be read is said once, whoever asks; the end of a file may be in the making."""
    line = b'{"data":{"id":"%d","d":%d}}\n'
    whole = b"".join(line % (number, number) for number in range(5))
    (tmp_path / "tool_perf.jsonl").write_bytes(whole + b'{"data":{"id\n\xff\xfe\n' + line[:9])
    for is_wanted in (None, rising_floor(10)):
        told: list[str] = []
        found = list(read(tmp_path, is_wanted=is_wanted, tell=told.append))
        assert [one["data"]["id"] for one in found] == list("01234")
        assert told == [f"{tmp_path}: 2 lines are damaged, and left out"]
