"""What every command says of a storage that is missing, none, unreadable, damaged or newer."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from shmperf.commands.main import main
from tests.support import PYTHON, Place, outputs, program_text

NEVER = ("stats", "tree", "slow", "errors", "inflight", "status", "mode", "cleanup", "export csv")
# What lies in the journal is not asked for.
BESIDE = frozenset({"inflight", "mode", "cleanup"})


def missing(storage: Path) -> None:
    shutil.rmtree(storage)


def is_file(storage: Path) -> None:
    shutil.rmtree(storage)
    storage.write_text("mine\n")


def is_empty(storage: Path) -> None:
    shutil.rmtree(storage)
    storage.mkdir()


def no_journal(storage: Path) -> None:
    shutil.rmtree(storage / ".shmperf")
    (storage / ".shmperf").write_text("mine\n")


def newer(storage: Path) -> None:
    for path in (storage / ".shmperf/snapshot", *(storage / ".shmperf").glob("journal.[0-9]*")):
        content = bytearray(path.read_bytes())
        struct.pack_into("<I", content, 8, 99)
        path.write_bytes(content)


def damaged(storage: Path) -> None:
    (storage / ".shmperf/snapshot").write_bytes(b"\0" * 100)


# What is told, and which commands have an answer all the same.
STORAGES: dict[Callable[[Path], None], tuple[str, frozenset[str]]] = {
    missing: ("perf_data: no such directory; nothing was recorded there", frozenset()),
    is_file: ("perf_data: not a directory; nothing was recorded there", frozenset()),
    is_empty: ("perf_data: nothing was recorded there", frozenset()),
    no_journal: ("perf_data/.shmperf: Not a directory", frozenset()),
    newer: ("found a journal of version 99, expected 3; use the shmperf that", frozenset()),
    damaged: ("the journal is damaged (snapshot: not a journal of shmperf)", BESIDE),
}


@pytest.fixture
def recorded(
    place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Place:
    """Two calls in ``perf_data`` of a session that has ended; this process is in that place."""
    place.run_program("commands/record")
    place.wait_for_end()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place.runtime))
    monkeypatch.delenv("SHMPERF_SESSION", raising=False)
    monkeypatch.delenv("SHMPERF_CONFIG", raising=False)
    monkeypatch.chdir(place.cwd)
    return place


def bytes_of(place: Place) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in place.cwd.rglob("*") if path.is_file()}


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on standard error of a command that exits 1 and prints nothing."""
    code = main(list(arguments))
    out, error = capsys.readouterr()
    assert (code, out) == (1, ""), (arguments, out, error)
    (line,) = error.splitlines()
    assert line.startswith("shmperf: ")
    return line


@pytest.mark.parametrize("spoil", STORAGES, ids=lambda spoil: spoil.__name__)
def test_no_command_answers_for_what_it_can_not_know(
    recorded: Place, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    """One line says what is wrong, exit 1, no zeros on standard output, and nothing is changed."""
    expected, answering = STORAGES[spoil]
    spoil(recorded.storage)
    before = bytes_of(recorded)
    for command in NEVER:
        for flags in ((), ("--json",)):
            if command not in answering:
                line = refusal(capsys, *command.split(), "--storage", "perf_data", *flags)
                assert expected in line, (command, line)
    # Without the flag it is the same storage, and where there is none nothing is to be forgotten.
    for command in set(NEVER) - answering - {"cleanup"}:
        assert expected in refusal(capsys, *command.split())
    for arguments in (("stop",), ("rank", "anything")):
        refusal(capsys, *arguments, "--storage", "perf_data")
    assert main(["config"]) == 0
    assert main(["doctor"]) == (spoil in {is_file, no_journal, newer})
    capsys.readouterr()
    assert bytes_of(recorded) == before


def test_an_unreadable_storage_is_no_empty_one(recorded: Place) -> None:
    """Who may not read there is told so, by every command."""
    program = recorded.write("alone.py", program_text("commands/without_privilege"))
    recorded.storage.chmod(0)
    try:
        for command in (*NEVER, "cleanup --force"):
            one = recorded.start(PYTHON, str(program), *command.split())
            out, error = outputs(one)
            assert (one.returncode, out) == (1, ""), (command, out, error)
            assert error == f"shmperf: {recorded.storage}: Permission denied\n"
    finally:
        recorded.storage.chmod(0o700)
    assert recorded.stats()["total_calls"]


def test_what_lies_before_a_damage_is_told_with_it(
    recorded: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """A log that ends in the middle costs what is behind that, which is said beside the answer."""
    whole = recorded.stats()
    assert whole["complete"]
    (log,) = (recorded.storage / ".shmperf").glob("journal.[0-9]*")
    with log.open("ab") as file:
        file.write(b"x" * 50)
    found = recorded.ask("stats")
    assert not found["complete"]
    counts = {tool: row["count"] for tool, row in whole["tool_stats"].items()}
    assert {tool: row["count"] for tool, row in found["tool_stats"].items()} == counts
    for command in ("stats", "tree", "slow", "errors", "status"):
        assert main([command]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert "the journal is damaged (journal." in line
        assert "calls behind the damage are missing here" in line


def test_a_cleanup_says_what_it_has_left(
    recorded: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """History that no journal knows any more is named, not deleted unseen and not passed over."""
    damaged(recorded.storage)
    left = sorted(path.name for path in recorded.storage.glob("*_perf.jsonl"))
    line = refusal(capsys, "cleanup")
    assert f"{len(left)} history files could not be deleted" in line
    assert left[0] in line
    for name in left:
        (recorded.storage / name).unlink()
    assert main(["cleanup"]) == 0
