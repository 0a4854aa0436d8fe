"""Segments of history: every line once, compressed, and back in order, whatever happens."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shmperf.analysis.shownalert import ShownAlert
from shmperf.shm.record import Call
from shmperf.storage import alertfile
from shmperf.storage.archive import Archive
from shmperf.storage.codecs import CODECS, Codec, codec_named
from shmperf.storage.filenames import segments_in
from shmperf.storage.history import History
from shmperf.storage.pace import Pace
from shmperf.storage.reading import lines_of
from shmperf.storage.segmentfile import Window, read_index
from shmperf.storage.segments import Moved, Segments, lines_in

from .test_history import call, file_size_limit, ids, write

CODEC_NAMES = ("zstd", "gzip")


class Place:
    """History and archive of a directory, and what a journal would list of them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.segments: dict[str, Segments] = {}
        self.open()

    def open(self) -> None:
        """What the next collector does first."""
        listed = self.history.files if hasattr(self, "history") else {}
        self.history = History(self.path)
        self.history.restore(listed)
        self.archive = Archive(self.path, self.history, Pace(lambda: 0.0))
        self.segments |= self.archive.restore(self.segments, {})

    def write(self, numbers: range, tool: str = "tool", **more: object) -> None:
        write(self.history, [call(n, tool, **more) for n in numbers], -1)

    def move(self, lines: int, codec: str = "zstd", tool: str = "tool") -> None:
        for moved in self.moving(lines, codec, tool):
            self.note(moved)

    def moving(self, lines: int, codec: str = "zstd", tool: str = "tool") -> Iterator[Moved | None]:
        known = self.segments.get(tool, Segments())
        return self.archive.move(tool, known, codec_named(codec), lines)

    def note(self, moved: Moved | None) -> None:
        if moved is not None:
            self.segments[moved.tool] = moved.segments

    def count(self, tool: str = "tool") -> int:
        return lines_in(self.history.files.get(tool), self.segments.get(tool))

    def names(self, tool: str = "tool") -> list[Path]:
        found = segments_in(self.path).get(f"{tool}_perf", {})
        return [self.path / found[number] for number in sorted(found)]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_lines_move_and_are_read_in_order(place: Place, codec: str) -> None:
    """Full segments leave the file, the rest stays, and readers see what they saw before."""
    place.write(range(250))
    before = list(lines_of(place.path))
    place.move(100, codec)
    assert len(place.names()) == 2
    assert list(lines_of(place.path)) == before
    assert ids(place.path) == list(range(250))
    assert place.history.files["tool"].lines == 50
    assert place.count() == 250
    place.write(range(250, 260))
    assert ids(place.path) == list(range(260))


@pytest.mark.parametrize(("codec", "program"), [("zstd", "zstdcat"), ("gzip", "zcat")])
def test_other_programs_show_the_lines_and_nothing_else(
    place: Place, codec: str, program: str
) -> None:
    """`zstdcat` and `zcat` pass over the index without a word."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"there is no {program} here")
    place.write(range(200))
    before = b"".join(lines_of(place.path))
    place.move(100, codec)
    shown = subprocess.run([found, *place.names()], capture_output=True, check=True)
    assert shown.stdout == before
    assert shown.stderr == b""


@pytest.mark.parametrize("codec", CODEC_NAMES)
@settings(max_examples=30, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=60),
    most=st.integers(1, 20),
    frame=st.sampled_from([1, 500, 5_000, 262_144]),
)
def test_cutting_changes_no_byte(
    tmp_path_factory: pytest.TempPathFactory, codec: str, lengths: list[int], most: int, frame: int
) -> None:
    """Wherever frames and segments are cut: at line ends, and all bytes come back in order."""
    path = tmp_path_factory.mktemp("cut")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shmperf.storage.cutting.FRAME_BYTES", frame)
        place = Place(path)
        calls = [call(n, params=json.dumps({"n": "é" * size})) for n, size in enumerate(lengths)]
        write(place.history, calls, -1)
        before = list(lines_of(path))
        place.move(most, codec)
        assert list(lines_of(path)) == before
        assert place.count() == len(lengths)
        assert place.history.files["tool"].lines == len(lengths) % most
    shutil.rmtree(path)


def test_index_tells_times_and_ids(place: Place) -> None:
    """Who looks for a time or an id gets no frame in which it can't be."""
    block = 7 << 32
    for first in (0, 1000, 2000):
        write(place.history, [call(n, id=block | n) for n in range(first, first + 100)], -1)
        place.move(100)
    index = read_index(place.names()[1])
    assert index is not None
    assert (index.tool, index.lines) == ("tool", 100)
    assert index.frames[0].blocks == {7: (1000, 1099)}
    everything = [json.loads(text) for text in lines_of(place.path)]
    middle = everything[150]["timestamp"]

    def found(window: Window) -> set[int]:
        lines = lines_of(place.path, "tool", window)
        return {int(json.loads(text)["data"]["id"], 16) & 0xFFFF for text in lines}

    assert found(Window(since=middle)) == {*range(1000, 1100), *range(2000, 2100)}
    assert found(Window(until=middle)) == {*range(100), *range(1000, 1100)}
    assert found(Window(until=everything[0]["timestamp"])) == set()
    assert found(Window(id=f"{block | 2050:016x}")) == set(range(2000, 2100))
    assert found(Window(id=f"{block | 500:016x}")) == set()
    assert found(Window(id="nonsense")) == set()


def steps_of(place: Place, most: int) -> int:
    return sum(1 for _ in place.moving(most))


@pytest.mark.parametrize("codec", CODEC_NAMES)
@pytest.mark.parametrize("kept", [True, False])
def test_killed_after_any_step_costs_and_doubles_nothing(
    tmp_path: Path, codec: str, kept: bool
) -> None:
    """With the journal as it was before the step or after it: each line is there, and once."""
    for last in range(20):
        path = tmp_path / f"{codec}{last}{kept}"
        path.mkdir()
        place = Place(path)
        place.write(range(350))
        listed_files, listed = dict(place.history.files), {}
        steps = place.moving(100, codec)
        for _ in range(last):
            moved = next(steps, None)
            if moved is not None and kept:
                listed[moved.tool] = moved.segments
                listed_files = dict(place.history.files)
        assert ids(path) == list(range(350))
        # Whatever is on the disk now, without a word of farewell.
        copy = path.with_name(path.name + "-copy")
        shutil.copytree(path, copy)
        for name in ("history", "archive"):
            delattr(place, name)
        again = Place(path)
        again.history.restore(listed_files)
        again.segments = {**listed, **again.archive.restore(listed, {})}
        assert ids(path) == list(range(350))
        again.write(range(350, 360))
        again.move(100, codec)
        assert ids(path) == list(range(360))
        assert again.count() == 360
        assert not list(path.glob(".*"))
        # On another machine files have other inodes, and the journal is gone.
        moved_here = Place(copy)
        assert ids(copy) == list(range(350))
        moved_here.write(range(350, 360))
        moved_here.move(100, codec)
        assert ids(copy) == list(range(360))
        assert moved_here.count() == 360


def damage(path: Path, at: int, count: int = 40) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(os.urandom(count))


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_a_damaged_frame_costs_its_lines_and_is_told_once(
    place: Place, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage in the middle of a segment: the frames around it are read."""
    monkeypatch.setattr("shmperf.storage.cutting.FRAME_BYTES", 2000)
    place.write(range(200))
    place.move(200, codec)
    (path,) = place.names()
    index = read_index(path)
    assert index is not None
    frames = index.frames
    damage(path, frames[0].size + frames[1].size // 2)
    told: list[str] = []
    numbers = [json.loads(text)["data"]["id"] for text in lines_of(place.path, tell=told.append)]
    first = frames[0].lines
    gone = range(first, first + frames[1].lines)
    assert numbers == [f"{n:016x}" for n in range(200) if n not in gone]
    assert len(told) == 1
    assert f"1 of {len(frames)} frames" in told[0]


@pytest.mark.parametrize("codec", CODEC_NAMES)
def test_without_its_index_a_segment_is_read_all_the_same(
    place: Place, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames are found by how they begin; one that is damaged too costs its lines."""
    monkeypatch.setattr("shmperf.storage.cutting.FRAME_BYTES", 2000)
    place.write(range(200))
    place.move(200, codec)
    (path,) = place.names()
    index = read_index(path)
    assert index is not None
    damage(path, path.stat().st_size - 30, 30)
    told: list[str] = []
    assert len(list(lines_of(place.path, tell=told.append))) == 200
    assert len(told) == 1
    assert "index" in told[0]
    damage(path, index.frames[0].size + 20)
    assert len(list(lines_of(place.path))) == 200 - index.frames[1].lines
    os.truncate(path, index.frames[0].size + 10)
    assert len(list(lines_of(place.path))) == index.frames[0].lines


@pytest.mark.parametrize("content", [b"", b"x" * 5000, bytes(100_000), b"\x28\xb5\x2f\xfd" * 99])
@pytest.mark.parametrize("suffix", [codec.suffix for codec in CODECS])
def test_a_segment_that_is_none_is_told_and_costs_itself(
    place: Place, content: bytes, suffix: str
) -> None:
    """Whatever lies in a segment's place: one line says so, and the rest is read and written."""
    place.write(range(10))
    (place.path / f"tool_perf.000001.jsonl{suffix}").write_bytes(content)
    told: list[str] = []
    assert len(list(lines_of(place.path, tell=told.append))) == 10
    assert len(told) == 1
    place.open()
    place.write(range(10, 20))
    place.move(10)
    assert ids(place.path) == list(range(20))


def test_a_newer_segment_is_refused_in_a_line(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a later version has written is not read, and not touched."""
    place.write(range(100))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("shmperf.storage.segmentfile._VERSION", 2)
        place.move(100)
    place.write(range(100, 110))
    told: list[str] = []
    assert len(list(lines_of(place.path, tell=told.append))) == 10
    (path,) = place.names()
    assert told == [f"{path}: found a segment of version 2, expected 1"]
    place.open()
    assert path.exists()


def test_segments_that_somebody_removed_cost_only_themselves(place: Place) -> None:
    """A segment deleted by hand is listed no more, and the others are read."""
    place.write(range(300))
    place.move(100)
    place.names()[1].unlink()
    assert ids(place.path) == [*range(100), *range(200, 300)]
    place.open()
    assert place.segments["tool"].lines == 200
    for path in place.names():
        path.unlink()
    place.open()
    assert place.segments["tool"].lines == 0
    place.write(range(300, 400))
    place.move(100)
    assert [path.name for path in place.names()] == ["tool_perf.000004.jsonl.zst"]


def test_another_tools_segments_are_not_mixed_up(place: Place) -> None:
    """Tools whose names need a digest have segments of their own, and are found without a list."""
    for tool in ("a b", "a-b", "a_b", ""):
        write(place.history, [call(n, tool=tool) for n in range(100)], -1)
        place.move(100, tool=tool)
    again = Place(place.path)
    listed = {tool: one.lines for tool, one in again.segments.items()}
    assert listed == {"a b": 100, "a-b": 100, "a_b": 100, "": 100}
    assert ids(place.path, "a b") == list(range(100))


def test_erasing_takes_the_listed_segments(place: Place) -> None:
    """Segments that came after a list was made are not deleted by it."""
    place.write(range(100))
    place.move(100)
    listed = dict(place.segments)
    place.write(range(100, 200))
    place.move(100)
    place.archive.erase(listed)
    assert ids(place.path) == list(range(100, 200))


def test_lines_of_others_are_kept_as_they_are(place: Place) -> None:
    """What somebody else has appended, JSON or not, moves along, and is never passed over."""
    place.write(range(3))
    path = place.path / "tool_perf.jsonl"
    path.write_bytes(path.read_bytes() + b"garb\rage\n" + b'{"data": {}, "timestamp": 1}\n')
    place = Place(place.path)
    place.write(range(3, 6))
    before = list(lines_of(place.path))
    assert len(before) == 8
    place.move(4)
    late = Window(since="2100-01-01T00:00:00.000000+00:00")
    assert list(lines_of(place.path)) == before
    assert list(lines_of(place.path, "tool", late)) == before


def test_a_file_exchanged_meanwhile_is_left_alone(place: Place) -> None:
    """Its segment is not made, and the stranger keeps its lines."""
    place.write(range(100))
    steps = place.moving(100)
    next(steps)
    path = place.path / "tool_perf.jsonl"
    path.rename(place.path / "moved")
    path.write_bytes(b"")
    for moved in steps:
        place.note(moved)
    assert path.exists()
    assert sorted({*ids(place.path)}) in ([], list(range(100)))


def test_lines_appended_meanwhile_stay(place: Place) -> None:
    """A file goes on to be written between any two steps."""
    place.write(range(250))
    following = 250
    for moved in place.moving(100):
        place.note(moved)
        place.write(range(following, following + 3))
        following += 3
        assert ids(place.path) == list(range(following))
    assert place.count() == following


def test_codecs_are_what_they_are_called() -> None:
    """zstd, gzip, and none."""
    names = {"zstd": ".zst", "gzip": ".gz"}
    assert {name: suffix_of(codec_named(name)) for name in names} == names
    assert codec_named("off") is None


def suffix_of(codec: Codec | None) -> str:
    return "" if codec is None else codec.suffix


def test_call_without_an_id_makes_no_index_of_ids(place: Place) -> None:
    """Lines that lack one are found by any id's reader."""
    place.write(range(10))
    path = place.path / "tool_perf.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"id"', b'"io"'))
    place.move(10)
    index = read_index(place.names()[0])
    assert index is not None
    assert index.frames[0].blocks is None
    assert len(list(lines_of(place.path, "tool", Window(id="0" * 16)))) == 10


def test_calls_of_many_blocks_have_no_ids_in_the_index(place: Place) -> None:
    """An index is bounded, however many workers there are."""
    calls: list[Call] = [call(n, id=n << 32) for n in range(100)]
    write(place.history, calls, -1)
    place.move(100)
    index = read_index(place.names()[0])
    assert index is not None
    assert index.frames[0].blocks is None


def test_a_disk_that_is_full_leaves_all_as_it_was(place: Place) -> None:
    """A write that fails in the middle of a segment: nothing is lost, left behind or listed."""
    calls = [call(n, params=json.dumps({"n": os.urandom(90).hex()})) for n in range(300)]
    write(place.history, calls, -1)
    before = list(lines_of(place.path))
    with file_size_limit(5000), pytest.raises(OSError, match="too large"):
        place.move(100)
    assert list(lines_of(place.path)) == before
    assert [path.name for path in place.path.iterdir()] == ["tool_perf.jsonl"]
    place.move(100)
    assert list(lines_of(place.path)) == before
    assert len(place.names()) == 3


def test_a_full_disk_as_the_rest_is_copied(place: Place) -> None:
    """The segment is listed, its lines stay in the file as well, and are seen once."""
    place.write(range(190))
    steps = place.moving(100)
    with file_size_limit(10_000), pytest.raises(OSError, match="too large"):
        list(map(place.note, steps))
    assert place.segments["tool"].moved_lines == 100
    assert place.history.files["tool"].lines == 190
    assert ids(place.path) == list(range(190))
    assert place.count() == 190
    place.open()
    place.move(1000)
    assert place.history.files["tool"].lines == 90
    assert ids(place.path) == list(range(190))


def test_alerts_that_ended_before_go_and_open_ones_stay(place: Place) -> None:
    """Retention covers alerts: both lines of an old one, none of what is open or young."""

    def alert(number: int, ended: str | None) -> ShownAlert:
        return ShownAlert(
            id=str(number),
            kind="latency",
            tool="t",
            severity="warning",
            began="2020-01-01T00:00:00.000000+00:00",
            ended=ended,
            text="x",
            evidence={},
        )

    old, young = "2020-01-02T00:00:00.000000+00:00", "2026-01-02T00:00:00.000000+00:00"
    alertfile.append(place.path, [alert(1, None), alert(2, None), alert(3, None)])
    alertfile.append(place.path, [alert(1, old), alert(2, young)])
    for _ in place.archive.expire("2025-01-01T00:00:00.000000+00:00", {}):
        pass
    assert [(one.id, one.ended) for one in alertfile.read(place.path)] == [
        ("2", young),
        ("3", None),
    ]


def test_a_file_that_cannot_be_read_keeps_its_own_lines_only(place: Place) -> None:
    """Retention goes on with other tools and tells of it in the end, each time."""
    for tool in ("a", "b", "c"):
        place.write(range(5), tool)
    path = place.path / "a_perf.jsonl"
    path.unlink()
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        list(place.archive.expire("2100-01-01T00:00:00.000000+00:00", {}))
    assert [place.history.files[tool].lines for tool in ("a", "b", "c")] == [5, 0, 0]
