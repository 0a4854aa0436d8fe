"""What a newcomer touches: a new command, a new exporter, is one file and one row of a table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.collector import supervisor as sidecars
from shmperf.commands import table as commands
from shmperf.commands.main import main
from shmperf.exporters import table as exporters
from shmperf.storage.history import file_name
from tests.support import program_text

LINE = (
    '{"tool":"search","timestamp":"2026-01-02T03:04:05.000000+00:00","data":{"t":"search",'
    '"p":"{}","s":1767323045.0,"e":1767323046.5,"d":1.5,"id":"000000010000fa00","pid":7}}\n'
)


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A storage directory with one kept call; toy modules beside it can be imported."""
    before = set(sys.modules)
    (tmp_path / "perf_data").mkdir()
    (tmp_path / "perf_data" / file_name("search")).write_text(LINE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHMPERF_SESSION", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("toy_"):
            del sys.modules[name]


def test_a_command_is_one_file_and_one_row(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has its flags, its line in the help and its exit code, and only it is imported."""
    (storage / "toy_shout.py").write_text(program_text("newcomer/shout"))
    row = commands.Command("shout", "toy_shout", "the tools that were called, loudly")
    monkeypatch.setattr(commands, "COMMANDS", (*commands.COMMANDS, row))
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "the tools that were called, loudly" in capsys.readouterr().out
    assert "toy_shout" not in sys.modules
    assert main(["shout", "--storage", "perf_data"]) == 0
    assert capsys.readouterr().out == "loud: SEARCH!\n"
    assert main(["shout", "--storage", "perf_data", "--json"]) == 0
    assert capsys.readouterr().out.split() == ["[", '"search"', "]"]
    assert main(["shout", "--storage", "nowhere"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_an_exporter_is_one_file_and_one_row(
    storage: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Choice, output file, time and parameters are the command's; the format only writes."""
    (storage / "toy_words.py").write_text(program_text("newcomer/words"))
    row = exporters.Exporter("words", "toy_words", "a sentence a call")
    monkeypatch.setattr(exporters, "EXPORTERS", (*exporters.EXPORTERS, row))
    command = ["export", "words", "--storage", "perf_data"]
    assert main(command) == 0
    assert capfdbinary.readouterr().out == b"search took 1.5 s with {}\n"
    assert main([*command, "-o", "out.txt", "--no-parameters"]) == 0
    assert Path("out.txt").read_text() == "search took 1.5 s with None\n"
    assert main([*command, "--since", "-1s", "-o", "out.txt"]) == 0
    assert Path("out.txt").read_text() == ""
    with pytest.raises(SystemExit, match="2"):
        main(["export", "wrods"])


@pytest.mark.parametrize(
    ("name", "module", "wanted"),
    [(row.name, row.module, {"add_arguments", "run"}) for row in commands.COMMANDS]
    + [(row.name, row.module, {"export"}) for row in exporters.EXPORTERS]
    + [(row.name, row.module, {"main"}) for row in sidecars.SIDECARS],
)
def test_every_row_has_its_module(name: str, module: str, wanted: set[str]) -> None:
    """Each row of the three tables leads to a module of the promised shape."""
    __import__(module)
    assert wanted <= set(sys.modules[module].__all__), name
