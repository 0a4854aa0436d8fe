"""The history files: strict lines, the newest of them, each exactly once after any kill."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shmperf.errors import StoreError
from shmperf.shm.record import Call, Detail, Outcome
from shmperf.storage.history import SUFFIX, History, file_name, read
from shmperf.storage.lines import jsonl

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND + 123_456_789


def line(call: Call) -> bytes:
    return jsonl([call])


def call(number: int, tool: str = "tool", **more: object) -> Call:
    fields: dict[str, object] = {
        "tool": tool,
        "id": number,
        "pid": 9,
        "parent": 0,
        "start_ns": START + number * SECOND,
        "duration_ns": 1_500_000,
        "status": Outcome.OK,
        "params": '{"n":1}',
        **more,
    }
    return Call(**fields)  # type: ignore[arg-type]


def write(history: History, calls: list[Call], limit: int) -> None:
    tool = calls[0].tool
    history.prepare_all({tool: len(calls)}, {tool: limit})
    history.append_all({tool: calls}, {tool: limit})


def ids(path: Path, tool: str = "tool") -> list[int]:
    return [int(found["data"]["id"], 16) for found in read(path, tool)]


def strict(text: bytes) -> dict[str, object]:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    found: dict[str, object] = json.loads(text, parse_constant=refuse)
    return found


def test_normal_line_has_its_keys_and_no_empty_ones() -> None:
    """t, p, s, e, d, id and pid always; further keys only where they carry something."""
    found = strict(line(call(255)))
    assert list(found) == ["tool", "timestamp", "data"]
    assert found["timestamp"] == "2023-11-14T22:17:35.123456+00:00"
    assert datetime.fromisoformat(str(found["timestamp"])).utcoffset() is not None
    data = found["data"]
    assert isinstance(data, dict)
    assert list(data) == ["t", "p", "s", "e", "d", "id", "pid"]
    assert (data["t"], data["p"], data["d"], data["id"]) == (
        "tool",
        '{"n":1}',
        0.0015,
        "00000000000000ff",
    )
    assert data["e"] - data["s"] == pytest.approx(0.0015, abs=1e-6)


def test_outcome_and_parent_join_where_there_are_some() -> None:
    """parent, status, err and truncated stand beside the others."""
    data = strict(
        line(call(1, parent=16, status=Outcome.TIMEOUT, err="TimeoutError", truncated=True))
    )["data"]
    assert isinstance(data, dict)
    assert data["parent"] == "0000000000000010"
    assert (data["status"], data["err"], data["truncated"]) == ("timeout", "TimeoutError", True)


def test_a_caught_exception_joins_its_line() -> None:
    """error, fingerprint and where, in both shapes."""
    caught = {"err": "E", "fingerprint": "0123", "where": "a.b:3", "status": Outcome.ERROR}
    detail = Detail(None, None, "boom", "{}", [], {}, 1)
    for more in ({"message": "boom"}, {"detail": detail}):
        data = strict(line(call(1, **caught, **more)))["data"]
        assert isinstance(data, dict)
        assert (data["error"], data["fingerprint"], data["where"]) == ("boom", "0123", "a.b:3")
    assert "fingerprint" not in strict(line(call(1, detail=detail)))["data"]  # type: ignore[operator]


def test_aborted_line_has_no_end() -> None:
    """An aborted call has neither end nor duration."""
    data = strict(line(call(1, duration_ns=None, status=Outcome.ABORTED, params="")))["data"]
    assert isinstance(data, dict)
    assert data["e"] is data["d"] is None
    assert data["status"] == "aborted"


def test_detailed_line_has_all_of_its_keys() -> None:
    """Optimization mode's eleven keys are always there, parameters and metadata as JSON."""
    detail = Detail(1 << 20, 50.0, "boom", '{"a":[1]}', [5], {"leaf": (1, 2_000_000)}, 7_000_000)
    data = strict(line(call(1, detail=detail, parent=2)))["data"]
    assert isinstance(data, dict)
    assert list(data)[:11] == [
        "tool",
        "params",
        "start",
        "end",
        "duration_ms",
        "memory_mb",
        "cpu_percent",
        "parent_tool",
        "child_tools",
        "error",
        "metadata",
    ]
    assert (data["params"], data["metadata"], data["error"]) == ({"n": 1}, {"a": [1]}, "boom")
    assert (data["memory_mb"], data["duration_ms"], data["self_ms"]) == (1.0, 1.5, 7.0)
    assert data["child_tools"] == ["0000000000000005"]
    assert data["children"] == {"leaf": {"count": 1, "total_ms": 2.0}}


@given(st.text(), st.text())
def test_no_two_tools_share_a_safe_file_name(one: str, other: str) -> None:
    """Names are short, stay in their directory, and differ also where case does not count."""
    names = [file_name(one), file_name(other)]
    for name in names:
        assert len(name) <= 120
        assert name.endswith(SUFFIX)
        assert "/" not in name
        assert not name.startswith(".")
        assert ".." not in name
        assert name.isascii()
    assert (names[0].lower() == names[1].lower()) == (one == other)


def test_plain_names_stay_readable() -> None:
    """A plain tool name is its file's name."""
    assert file_name("llm_call") == "llm_call_perf.jsonl"
    assert file_name("LLM call!").startswith("llm-call.")


def test_file_never_has_more_than_twice_its_limit(tmp_path: Path) -> None:
    """Whatever is appended, and exactly the newest by end after a compaction."""
    history = History(tmp_path)
    for batch in range(20):
        write(history, [call(batch * 7 + n) for n in range(7)], 10)
        assert len(ids(tmp_path)) <= 20
        assert ids(tmp_path)[-1] == batch * 7 + 6
    history.compact_all({"tool": 10})
    assert ids(tmp_path) == list(range(130, 140))
    assert history.files["tool"].lines == 10


def test_file_is_compacted_when_it_has_twice_its_limit_and_not_before(tmp_path: Path) -> None:
    """Line by line it grows to twice the limit; the next one finds the newest of the limit."""
    history = History(tmp_path)
    found = []
    for n in range(1, 16):
        write(history, [call(n)], 5)
        found.append(len(ids(tmp_path)))
    assert found == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 6, 7, 8, 9, 10]
    assert history.files["tool"].lines == 10


def test_batch_beyond_the_limit_is_cut_before_it_is_written(tmp_path: Path) -> None:
    """Of more calls than the limit only the newest ever come to the file."""
    write(History(tmp_path), [call(n) for n in range(8)], 5)
    assert ids(tmp_path) == [3, 4, 5, 6, 7]


def test_tool_whose_limit_has_become_none_keeps_no_line(tmp_path: Path) -> None:
    """A limit of 0 empties a file at the next compaction."""
    history = History(tmp_path)
    write(history, [call(1), call(2)], 5)
    assert history.compact_all({"tool": 0})["tool"].lines == 0
    assert ids(tmp_path) == []


def test_file_that_is_as_listed_is_taken_up(tmp_path: Path) -> None:
    """After a clean end nothing is cut, and nothing has to be counted anew."""
    history = History(tmp_path)
    write(history, [call(1), call(2)], 5)
    again = History(tmp_path)
    again.restore(history.files)
    assert again.files == history.files
    assert again.prepare_all({"tool": 1}, {"tool": 5}) == {}


def test_lines_behind_the_listed_size_are_gone_before_others_follow(tmp_path: Path) -> None:
    """What a write that was given up has left is cut off by the next append."""
    history = History(tmp_path)
    write(history, [call(1)], 5)
    with (tmp_path / file_name("tool")).open("ab") as file:
        file.write(line(call(99)) + b'{"torn')
    write(history, [call(2)], 5)
    assert ids(tmp_path) == [1, 2]


def test_file_exchanged_after_it_was_prepared_gets_no_line(tmp_path: Path) -> None:
    """Lines go to the file that is listed or nowhere; the stranger is left as it is."""
    history = History(tmp_path)
    write(history, [call(1)], 5)
    path = tmp_path / file_name("tool")
    path.rename(tmp_path / "moved")
    path.write_bytes(line(call(7)) * 3)
    with pytest.raises(StoreError, match="exchanged"):
        history.append_all({"tool": [call(2)]}, {"tool": 5})
    assert ids(tmp_path) == [7, 7, 7]


def test_newest_is_by_end_and_not_by_arrival(tmp_path: Path) -> None:
    """A call that ended long ago is not kept because it came late."""
    history = History(tmp_path)
    write(history, [call(n) for n in range(10, 15)], 3)
    write(history, [call(1), call(20)], 3)
    history.compact_all({"tool": 3})
    assert ids(tmp_path) == [13, 14, 20]


def test_unlimited_tool_keeps_everything(tmp_path: Path) -> None:
    """With limit -1 lines are only appended."""
    history = History(tmp_path)
    for n in range(50):
        write(history, [call(n)], -1)
    history.compact_all({"tool": -1})
    assert ids(tmp_path) == list(range(50))


def test_killed_after_an_append_is_cut_back(tmp_path: Path) -> None:
    """What was appended and not journalled is taken back, for it is still kept."""
    history = History(tmp_path)
    write(history, [call(1)], -1)
    listed = dict(history.files)
    write(history, [call(2)], -1)
    with (tmp_path / file_name("tool")).open("ab") as file:
        file.write(b'{"torn')
    again = History(tmp_path)
    again.restore(listed)
    assert ids(tmp_path) == [1]
    write(again, [call(2)], -1)
    assert ids(tmp_path) == [1, 2]


def test_exchanged_or_missing_file_is_adopted_as_it_is(tmp_path: Path) -> None:
    """A file that is not the listed one is not cut; a torn last line goes."""
    history = History(tmp_path)
    write(history, [call(1), call(2)], -1)
    listed = dict(history.files)
    path = tmp_path / file_name("tool")
    path.rename(path.with_name("old"))
    path.write_bytes(line(call(5)) + b'{"torn')
    again = History(tmp_path)
    again.restore(listed)
    assert again.files == {}
    write(again, [call(6)], -1)
    assert ids(tmp_path) == [5, 6]
    path.unlink()
    write(again, [call(7)], -1)
    assert ids(tmp_path) == [7]


def test_only_listed_files_are_erased(tmp_path: Path) -> None:
    """A file made after the list is not deleted by it."""
    history = History(tmp_path)
    write(history, [call(1)], 5)
    write(history, [call(1, tool="other")], 5)
    listed = dict(history.files)
    path = tmp_path / file_name("other")
    path.rename(tmp_path / "moved")
    path.write_bytes(line(call(2, tool="other")))
    history.erase(listed)
    assert not (tmp_path / file_name("tool")).exists()
    assert path.exists()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let every write beyond *size* fail, as on a full disk."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_short_write_is_taken_back(tmp_path: Path) -> None:
    """A write that fails half-way leaves the file as it was listed."""
    history = History(tmp_path)
    write(history, [call(1)], -1)
    size = history.files["tool"].size
    with file_size_limit(size + 50), pytest.raises(StoreError):
        write(history, [call(n) for n in range(2, 100)], -1)
    assert (tmp_path / file_name("tool")).stat().st_size == size
    write(history, [call(3)], -1)
    assert ids(tmp_path) == [1, 3]


def test_link_in_a_files_place_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link is refused, for reading and for writing."""
    target = tmp_path / "target"
    target.write_bytes(line(call(1)))
    (tmp_path / file_name("tool")).symlink_to(target)
    with pytest.raises(StoreError):
        write(History(tmp_path), [call(2)], 5)
    assert target.read_bytes() == line(call(1))
    assert list(read(tmp_path, "tool")) == []


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    """Reading goes on behind a line that is no JSON object of ours."""
    path = tmp_path / file_name("tool")
    junk = b'[]\nnull\n{"data": 5}\n\xff\xfe\n' + b"[" * 100_000 + b"\n"
    path.write_bytes(line(call(1)) + junk + line(call(2)))
    assert ids(tmp_path) == [1, 2]
    history = History(tmp_path)
    write(history, [call(3)], 2)
    history.compact_all({"tool": 2})
    assert ids(tmp_path) == [2, 3]


def test_files_are_private(tmp_path: Path) -> None:
    """History files are 0600, compacted ones too."""
    history = History(tmp_path / "new")
    write(history, [call(n) for n in range(5)], 5)
    write(history, [call(n) for n in range(5, 12)], 5)
    (path,) = (tmp_path / "new").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


def test_file_that_others_could_write_becomes_private(tmp_path: Path) -> None:
    """A history file that stands there with whatever mode is 0600 from the first line on."""
    path = tmp_path / file_name("tool")
    path.write_bytes(line(call(1)))
    path.chmod(0o666)
    write(History(tmp_path), [call(2)], 5)
    assert path.stat().st_mode & 0o777 == 0o600
    assert ids(tmp_path) == [1, 2]


def test_file_that_is_another_one_too_is_refused(tmp_path: Path) -> None:
    """A hard link in a history file's place is an error that names it; the other stays as it is."""
    other = tmp_path / "precious"
    other.write_bytes(b"precious, and not ours to cut")
    (tmp_path / file_name("tool")).hardlink_to(other)
    with pytest.raises(StoreError, match=r"tool_perf\.jsonl has another name"):
        write(History(tmp_path), [call(2)], 5)
    assert other.read_bytes() == b"precious, and not ours to cut"


def test_missing_directory_is_told(tmp_path: Path) -> None:
    """Reading where nothing was recorded is a StoreError."""
    with pytest.raises(StoreError, match="no such directory"):
        list(read(tmp_path / "nowhere"))


def test_compaction_takes_listed_lines_only(tmp_path: Path) -> None:
    """Bytes behind the listed size, whole lines too, are not carried into a compacted file."""
    history = History(tmp_path)
    write(history, [call(n) for n in range(5)], 5)
    with (tmp_path / file_name("tool")).open("ab") as file:
        file.write(line(call(99)) + b'{"torn')
    history.compact_all({"tool": 3})
    assert ids(tmp_path) == [2, 3, 4]
    assert (tmp_path / file_name("tool")).read_bytes().endswith(b"\n")


def test_file_cut_behind_our_back_is_not_filled_up(tmp_path: Path) -> None:
    """A file shorter than listed is a StoreError, and adopted as it is the next time."""
    history = History(tmp_path)
    write(history, [call(1), call(2)], -1)
    path = tmp_path / file_name("tool")
    path.write_bytes(line(call(1)))
    with pytest.raises(StoreError):
        history.append_all({"tool": [call(3)]}, {"tool": -1})
    assert path.read_bytes() == line(call(1))
    write(history, [call(3)], -1)
    assert ids(tmp_path) == [1, 3]


def test_file_that_cannot_be_had_costs_its_tool_only(tmp_path: Path) -> None:
    """A preparation answers every new file once, and those that failed when they can be had."""
    history = History(tmp_path)
    bad = tmp_path / file_name("bad")
    bad.mkdir()
    counts, limits = {"good": 1, "bad": 1}, {"good": 5, "bad": 5}
    assert set(history.prepare_all(counts, limits)) == {"good"}
    bad.rmdir()
    assert set(history.prepare_all(counts, limits)) == {"bad"}


def test_long_line_is_passed_over_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line beyond what a command may load costs itself only, and compaction keeps it whole."""
    monkeypatch.setattr("shmperf.storage.reading._LONGEST_LINE", 300)
    calls = [call(1), call(2), call(3, params='{"x":"' + "y" * 1000 + '"}'), call(4)]
    history = History(tmp_path)
    write(history, calls, 4)
    assert ids(tmp_path) == [1, 2, 4]
    history.compact_all({"tool": 3})
    assert (tmp_path / file_name("tool")).read_bytes() == b"".join(map(line, calls[1:]))


def test_number_that_is_no_time_stops_no_compaction(tmp_path: Path) -> None:
    """An end beyond all floats, written by somebody else, sorts first and is dropped first."""
    path = tmp_path / file_name("tool")
    path.write_bytes(b'{"data":{"e":1' + b"0" * 400 + b"}}\n" + line(call(1)) + line(call(2)))
    history = History(tmp_path)
    write(history, [call(3)], 2)
    history.compact_all({"tool": 2})
    assert ids(tmp_path) == [2, 3]


def test_pipe_among_the_history_files_does_not_block(tmp_path: Path) -> None:
    """Something that is no regular file is passed over at once."""
    os.mkfifo(tmp_path / file_name("pipe"))
    write(History(tmp_path), [call(1)], 5)
    assert [found["tool"] for found in read(tmp_path)] == ["tool"]
