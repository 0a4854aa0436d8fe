"""Exports that can't be written to their end: no half file, one line, nothing left behind."""

from __future__ import annotations

import json
import signal
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from shmperf.exporters.table import EXPORTERS
from shmperf.storage.history import file_name
from tests.support import PYTHON, Place, program_text, wait_until

LINES = 5_000


def made_up(number: int) -> str:
    """A line that no compression makes much smaller, of a tool that no other line has."""
    name = blake2b(str(number).encode()).hexdigest()
    data = {"p": json.dumps({"text": name[::-1]}), "s": 1767323045.0 + number, "d": 0.5}
    data |= {"id": f"{number + 1:016x}", "pid": 7}
    told = {"tool": name, "timestamp": "2026-01-02T03:04:05.000000+00:00", "data": data}
    return json.dumps(told) + "\n"


@pytest.fixture
def storage(place: Place) -> Path:
    """History that is longer than a megabyte in every format."""
    place.storage.mkdir()
    path = place.storage / file_name("made")
    path.write_text("".join(map(made_up, range(LINES))))
    return path


def exported_with_little_room(place: Place, full: Path, temporary: Path) -> dict[str, Any]:
    """What each format came to, where *full* is a disk of 64 KiB."""
    program = place.write("program.py", program_text("export/small_disk"))
    output = place.cwd / "output"
    for directory in (full, temporary, output):
        directory.mkdir(exist_ok=True)
    script = f"mount -t tmpfs -o size=64k tmpfs {full}\nexec {PYTHON} {program} {output}"
    found = place.run("unshare", "-m", "sh", "-ec", script, TMPDIR=str(temporary))
    return dict(json.loads(found))


@pytest.mark.usefixtures("storage")
def test_a_disk_that_fills_keeps_the_old_file(place: Place) -> None:
    """In every format: one line says what failed, exit 1, and nothing else is left."""
    output, temporary = place.cwd / "output", place.cwd / "temporary"
    for form, told in exported_with_little_room(place, output, temporary).items():
        assert (told["code"], told["is_old"], told["left"]) == (1, True, []), form
        assert told["said"].count("\n") == 1, form
        assert "No space left on device" in told["said"], form


@pytest.mark.usefixtures("storage")
def test_no_room_for_temporary_files_is_the_same(place: Place) -> None:
    """Formats that need none are written; the others say so."""
    temporary = place.cwd / "temporary"
    found = exported_with_little_room(place, temporary, temporary)
    for form, told in found.items():
        assert told["left"] == [], form
        if told["code"]:
            assert (told["code"], told["is_old"]) == (1, True), form
            assert told["said"].count("\n") == 1, form
            assert "No space left on device" in told["said"], form
    assert {form for form, told in found.items() if told["code"]} >= {"parquet", "speedscope"}


def test_killed_on_the_way_it_leaves_the_old_file(place: Place) -> None:
    """In every format; what was put aside goes with whoever comes next."""
    temporary = place.cwd / "temporary"
    temporary.mkdir()
    outputs = [output for row in EXPORTERS for output in (row.name, row.ending) if output]
    programs = {}
    for output in outputs:
        place.write(f"output/calls.{output}", "the old file")
        programs[output] = place.start_program(
            "export/half", output, f"output/calls.{output}", TMPDIR=str(temporary)
        )
    for program in programs.values():
        assert program.stdout is not None
        assert program.stdout.readline() == "half\n"
        program.kill()
        program.wait()
    found = {path.name: path.read_text() for path in (place.cwd / "output").iterdir()}
    assert found == {f"calls.{output}": "the old file" for output in outputs}
    assert len(list(temporary.iterdir())) == 1
    place.storage.mkdir()
    (place.storage / file_name("made")).write_text(made_up(1))
    place.shmperf("sql", "SELECT 1", TMPDIR=str(temporary))
    assert list(temporary.iterdir()) == []


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize(
    ("end", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_a_query_and_leaves_nothing(
    place: Place, end: signal.Signals, code: int
) -> None:
    """Whatever it computes; the exit code names the signal, and nobody sees a traceback."""
    temporary = place.cwd / "temporary"
    temporary.mkdir()
    query = "SELECT sum(a.range * b.range) FROM range(100000000) a, range(100000000) b"
    program = place.start_module("sql", query, TMPDIR=str(temporary))
    wait_until(lambda: list(temporary.glob("*/records")), "the database")
    program.send_signal(end)
    place.finish(program, code=code)
    assert program.error_text == ""  # type: ignore[attr-defined]  # kept by the place
    assert list(temporary.iterdir()) == []


ALL = "SELECT * FROM calls"


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("command", ["export csv", "export parquet -o -", f'sql "{ALL}" --json'])
def test_a_pipe_that_closes_is_a_quiet_end(place: Place, command: str) -> None:
    """Whoever reads the beginning only gets that, and nobody complains."""
    program = place.start("sh", "-c", f"{PYTHON} -m shmperf {command} | head -c 1")
    assert place.finish(program) in ("t", "[", "P")
    assert program.error_text == ""  # type: ignore[attr-defined]  # kept by the place


@pytest.mark.usefixtures("storage")
@pytest.mark.parametrize("command", ["export csv", "export parquet -o -", f'sql "{ALL}" --json'])
def test_a_full_disk_at_standard_output_is_named(place: Place, command: str) -> None:
    """It is no other file's or directory's fault."""
    program = place.start("sh", "-c", f"{PYTHON} -m shmperf {command} > /dev/full")
    place.finish(program, code=1)
    told = "shmperf: standard output: No space left on device\n"
    assert program.error_text == told  # type: ignore[attr-defined]  # kept by the place
