"""Files of reports: their names, how many stay, and what is no report."""

from __future__ import annotations

from pathlib import Path

import pytest

from shmperf.analysis.runreport import Report
from shmperf.errors import StoreError
from shmperf.storage.reports import FOLDER, MOST_REPORTS, load, names, new_name, newest, write

AT_S = 1_800_000_000.0
NAME = "20270115T080000Z"


def test_a_second_one_of_a_second_has_a_number(tmp_path: Path) -> None:
    """Each has a name of its own, and they come in the order in which they were written."""
    expected = [NAME, *(f"{NAME}-{number}" for number in range(2, 13))]
    for number, name in enumerate(expected):
        assert new_name(tmp_path, AT_S) == name
        write(tmp_path, name, Report(calls=number), f"{number}")
    assert names(tmp_path) == expected
    assert [load(tmp_path, name).calls for name in expected] == list(range(12))
    last, before = newest(tmp_path), newest(tmp_path, before=f"{NAME}-10")
    assert last is not None
    assert before is not None
    assert (last[0], before[0]) == (expected[-1], f"{NAME}-9")
    assert newest(tmp_path, before=NAME) is None


def test_written_again_it_is_the_same_report(tmp_path: Path) -> None:
    """What a killed collector has left is replaced, and nothing is left beside it."""
    folder = tmp_path / FOLDER
    write(tmp_path, NAME, Report(calls=1), "one")
    (folder / f".{NAME}.json.new").write_text("half")
    (folder / f"{NAME}.json").unlink()
    write(tmp_path, NAME, Report(calls=2), "two")
    assert sorted(path.name for path in folder.iterdir()) == [f"{NAME}.json", f"{NAME}.md"]
    assert load(tmp_path, NAME).calls == 2
    assert (folder / f"{NAME}.md").read_text() == "two"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_newest_stay(tmp_path: Path) -> None:
    """Others of their folder's files are nobody's, and stay too."""
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "notes.json").write_text("mine")
    for number in range(MOST_REPORTS + 5):
        write(tmp_path, new_name(tmp_path, AT_S + number), Report(calls=number), "")
    found = names(tmp_path)
    assert len(found) == MOST_REPORTS
    assert load(tmp_path, found[0]).calls == 5
    assert len(list((tmp_path / FOLDER).iterdir())) == 2 * MOST_REPORTS + 1


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema": 2}', b'{"calls": "x"}', b"[" * 100_000, b"\xff\xfe", b"{}\0"],
    ids=range(8),
)
def test_what_is_no_report_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """The one before is the newest that can be read; asked for by name it is an error."""
    write(tmp_path, NAME, Report(calls=1), "")
    damaged = tmp_path / FOLDER / f"{NAME}-2.json"
    damaged.write_bytes(content)
    found = newest(tmp_path)
    assert found is not None
    assert found[0] == NAME
    with pytest.raises(StoreError):
        load(tmp_path, f"{NAME}-2")


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Nobody is made to read, or to write, what a name leads to."""
    write(tmp_path, NAME, Report(calls=1), "")
    secret = tmp_path / "secret"
    secret.write_bytes((tmp_path / FOLDER / f"{NAME}.json").read_bytes())
    (tmp_path / FOLDER / f"{NAME}-2.json").symlink_to(secret)
    found = newest(tmp_path)
    assert found is not None
    assert found[0] == NAME
