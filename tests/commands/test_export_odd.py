"""Every format, of whatever a storage holds: odd names, damage, calls that are made meanwhile."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from shmperf.commands.main import main
from shmperf.exporters.table import EXPORTERS
from shmperf.files import JOURNAL_HEADER, JOURNAL_MAGIC, JOURNAL_VERSION
from shmperf.storage.history import file_name
from tests.exporters.names_in import NAMES_IN
from tests.support import Place

ALL_KEPT = "default_perf_points: -1\n"
LINE = (
    '{{"tool":"{tool}","timestamp":"2026-01-02T03:04:05.{n:06}+00:00","data":{{"t":"{tool}",'
    '"p":"{{}}","s":1767323045.{n:06},"e":1767323046.5,"d":1.5,"id":"00000001{n:08x}","pid":7}}}}\n'
)
NAMES = [
    "a \"b\" 'c'",
    "'; DROP TABLE calls; --",
    "line\r\nend",
    "nul\0nul",
    "a;b c 7",
    "</script><script>alert(1)</script>",
    "=cmd|' /C calc'!A0",
    "\ud800",
    "工具 🛠",
]
# In these a name is another text: a formula is none any more, what parts stacks is replaced.
SHOWN = {
    "csv": lambda name: f"'{name}" if name[0] == "=" else name,
    "folded": lambda name: name.translate(str.maketrans(";\0 \r\n", ":____")),
}


class Told(NamedTuple):
    """What an export of a format came to."""

    code: int
    said: str
    names: set[str] | None


class Exports:
    """Exports of the storage in a directory, all formats in turn, within this process."""

    def __init__(self, cwd: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.cwd = cwd
        self._capsys = capsys

    def all(self) -> dict[str, Told]:
        """Each format, and the other form that it has."""
        found = {}
        for row in EXPORTERS:
            outputs = [row.name, *([row.ending] if row.ending else [])]
            for output in outputs:
                path = self.cwd / f"calls.{output}"
                path.unlink(missing_ok=True)
                words = ["export", row.name, "--storage", "perf_data", "-o", str(path)]
                code = main(words)
                is_read = path.exists() and output in NAMES_IN
                names = NAMES_IN[output](path) if is_read else None
                found[output] = Told(code, self._capsys.readouterr().err, names)
        return found

    def files(self) -> list[str]:
        """What lies beside the storage."""
        return sorted(path.name for path in self.cwd.iterdir() if path.name != "perf_data")


@pytest.fixture
def exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Exports:
    (tmp_path / "perf_data").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHMPERF_SESSION", raising=False)
    return Exports(tmp_path, capsys)


def test_odd_calls_of_a_running_session_are_exported(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of any kind stand in every format, while the program runs and once it has died."""
    place.write("config/tool_perf_limits.yaml", ALL_KEPT)
    program = place.start_program("export/odd_calls", json.dumps(NAMES))
    assert program.stdout is not None
    assert program.stdout.readline() == "open\n"
    monkeypatch.chdir(place.cwd)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.runtime))
    monkeypatch.delenv("SHMPERF_SESSION", raising=False)
    exports = Exports(place.cwd, capsys)
    while_it_runs = exports.all()
    place.finish(program)
    place.wait_for_end()
    expected = [name.encode("utf-8", "backslashreplace").decode() for name in NAMES]
    for found, last in ((while_it_runs, set()), (exports.all(), {"unfinished"})):
        for form, told in found.items():
            assert (told.code, told.said) == (0, ""), form
            if told.names is not None:
                shown = {SHOWN.get(form, str)(name) for name in expected}
                missing = ({*shown, "plain"} | last) - told.names
                # A stack of a call that never ended has no weight.
                assert missing <= ({"unfinished"} if form == "folded" else set()), form
    stats = place.stats()["tool_stats"]
    assert stats["unfinished"]["aborted"] == 1


def lines(count: int = 50, tool: str = "plain") -> bytes:
    return "".join(LINE.format(tool=tool, n=n) for n in range(count)).encode()


def torn(storage: Path) -> None:
    """A file that ends within a line, with other lines before it that are none."""
    rubbish = b'not json\n{"data":5}\n\xff\xfe\n\n[]\n' + bytes(5_000) + b'\n{"tool":"odd"}\n'
    (storage / file_name("plain")).write_bytes(rubbish + lines() + lines(1)[:70])


def cut_segment(suffix: str) -> Callable[[Path], None]:
    """A segment that is not there to its end, and one that is no segment."""

    def damage(storage: Path) -> None:
        packed = gzip.compress(lines(tool="cut"))
        (storage / f"cut_perf.000001.jsonl{suffix}").write_bytes(packed[: len(packed) // 2])
        (storage / f"cut_perf.000002.jsonl{suffix}").write_bytes(b"")
        (storage / f"cut_perf.000003.jsonl{suffix}").mkdir()
        (storage / file_name("plain")).write_bytes(lines())

    return damage


def special(storage: Path) -> None:
    """Links, pipes and directories where files of history would be."""
    os.mkfifo(storage / file_name("pipe"))
    (storage / file_name("directory")).mkdir()
    (storage / file_name("link")).symlink_to("/etc/passwd")
    (storage / file_name("plain")).write_bytes(lines())


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(torn, id="torn"),
        pytest.param(cut_segment(".zst"), id="zst"),
        pytest.param(cut_segment(".gz"), id="gz"),
        pytest.param(special, id="special"),
    ],
)
def test_damage_costs_what_is_damaged(exports: Exports, damage: Callable[[Path], None]) -> None:
    """The other calls are in every format; what is missing is told, a line each."""
    damage(exports.cwd / "perf_data")
    for form, told in exports.all().items():
        assert told.code == 0, form
        assert told.names is None or "plain" in told.names, form
        assert all(line.startswith("shmperf: ") for line in told.said.splitlines()), form


def newer(storage: Path) -> None:
    """The journal of a later version."""
    (storage / ".shmperf").mkdir()
    header = JOURNAL_HEADER.pack(JOURNAL_MAGIC, JOURNAL_VERSION + 1, 1)
    (storage / ".shmperf" / "snapshot").write_bytes(header + bytes(100))
    (storage / file_name("plain")).write_bytes(lines())


@pytest.mark.parametrize(
    ("made", "expected"),
    [(lambda _: None, "nothing was recorded there"), (newer, "found a journal of version")],
)
def test_without_calls_to_read_there_is_no_file(
    exports: Exports, made: Callable[[Path], None], expected: str
) -> None:
    """An empty storage, and one of a later version: one line, exit 1, in every format."""
    made(exports.cwd / "perf_data")
    for form, told in exports.all().items():
        assert told.code == 1, form
        assert expected in told.said, form
        assert told.said.count("\n") == 1, form
    assert exports.files() == []
