"""Programs of every kind start a collector, once, that finds what it needs; or are told why not."""

from __future__ import annotations

import json
import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import shmperf
from tests.support import PYTHON, Place, assert_books_balance, outputs, program_text


def test_an_executable_that_is_no_python_is_not_run(place: Place) -> None:
    """Under uWSGI and in embedding programs the interpreter beside their library is taken."""
    host = place.write("uwsgi", "#!/bin/sh\necho run >> runs\n")
    host.chmod(0o755)
    assert place.run_program("hosts/executable", str(host)) == "True\n"
    assert (place.cwd / "runs").read_text() == "run\n"
    assert len(place.lines("tool")) == 1


@pytest.mark.parametrize("name", ["python", "app"])
def test_a_frozen_program_is_told_what_to_do(place: Place, name: str) -> None:
    """It is not run a second time, whatever its name, and ends without waiting for nobody."""
    host = place.write(name, "#!/bin/sh\necho run >> runs\n")
    host.chmod(0o755)
    program = place.start_program("hosts/executable", str(host), "frozen")
    assert place.finish(program) == "False\n"
    assert (place.cwd / "runs").read_text() == "run\n"
    told = program.error_text.splitlines()  # type: ignore[attr-defined]
    assert told[0].startswith(f"the collector did not start: {name} is no Python interpreter")
    assert "shmperf collect --session NAME" in told[0]
    assert len(told) == 2
    assert told[1].startswith("not every call was on disk when the program ended: ")
    # Whoever comes next with an interpreter drains what it has left.
    place.shmperf("status")
    place.run_program("hosts/executable", PYTHON)
    assert place.stats()["total_calls"] == 2


def test_another_version_says_so_in_the_program(place: Place) -> None:
    """The reason why no collector comes up stands on the program's logger, not in a log alone."""
    other = place.write(
        "python",
        f"#!{PYTHON}\n"
        "import os, sys\n"
        "sys.version_info, sys.executable = (2, 7, 18), '/opt/python'\n"
        "sys.argv = sys.argv[2:]\n"
        "exec(sys.argv[0])\n",
    )
    other.chmod(0o755)
    program = place.start_program("hosts/executable", str(other))
    place.finish(program)
    ours = f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert program.error_text.splitlines()[0] == (  # type: ignore[attr-defined]
        f"the collector did not start: the program runs Python {ours}, and /opt/python is another "
        "one; calls wait in memory until one does"
    )
    place.run_program("hosts/executable", PYTHON)


def test_a_collector_finds_what_the_program_alone_can_find(place: Place, tmp_path: Path) -> None:
    """Vendored in a directory and an archive that are on no path but the program's own."""
    libraries = tmp_path / "libraries"
    for name in ("msgspec", "psutil", "yaml"):
        found = find_spec(name)
        assert found is not None
        assert found.origin is not None
        shutil.copytree(Path(found.origin).parent, libraries / name)
    package = tmp_path / "package"
    package.mkdir()
    where = Path(shmperf.__file__).parent
    shutil.copytree(where, package / "shmperf", ignore=shutil.ignore_patterns("__pycache__"))
    archive = shutil.make_archive(str(tmp_path / "vendored"), "zip", package)
    text = program_text("hosts/vendored")
    (place.cwd / "vendored.py").write_text(text)
    # Of the environment that the tests run in there is nothing then.
    bare = getattr(sys, "_base_executable", PYTHON)
    out = place.run(bare, "vendored.py", archive, str(libraries), PYTHONPATH="")
    found_at, stats = json.loads(out)
    assert found_at.startswith(archive)
    assert_books_balance(stats)
    assert stats["total_calls"] == 1


def test_a_collector_holds_nothing_of_the_program_open(place: Place) -> None:
    """A client whose connection a server in C would hand on to its children sees it end."""
    assert place.run_program("hosts/inherited") == "b'' True\n"


@pytest.mark.parametrize("when", ["called", "not yet"])
def test_a_fork_that_goes_elsewhere_stays_in_the_program(place: Place, when: str) -> None:
    """Daemons change to the root directory: their calls are the program's all the same."""
    stats = json.loads(place.run_program("hosts/wanders", when))
    assert_books_balance(stats)
    assert stats["total_calls"] == 3 + (when == "called")
    assert not Path("/perf_data").exists()


def test_a_temporary_directory_that_is_not_there_is_replaced(place: Place) -> None:
    """TMPDIR may name what was never made; sessions then meet under the system's own."""
    del place.environ["XDG_RUNTIME_DIR"]
    place.environ["TMPDIR"] = "/nonexistent"
    assert place.run_program("hosts/executable", PYTHON) == "True\n"
    assert place.stats()["total_calls"] == 1


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [
        ("-m shmperf stats", 1, "shmperf: the working directory: No such file or directory\n"),
        (
            "-c 'import shmperf; shmperf.track(len)([])'",
            0,
            "tracking is off: the working directory: No such file or directory\n",
        ),
    ],
)
def test_a_working_directory_that_is_gone_is_told(
    place: Place, command: str, code: int, told: str
) -> None:
    """In one line, which names it; a program goes on."""
    gone = f"mkdir gone && cd gone && rmdir ../gone && exec {PYTHON} {command}"
    program = place.start("sh", "-c", gone)
    assert (*outputs(program), program.returncode) == ("", told, code)


def test_paths_may_have_any_bytes(place: Place) -> None:
    """Directories whose names are no UTF-8 hold sessions and history like others."""
    place.cwd = place.cwd / os.fsdecode(b"caf\xe9")
    place.write("config/tool_perf_limits.yaml", "default_perf_points: 7\n")
    assert place.run_program("hosts/executable", PYTHON) == "True\n"
    stats = place.ask("stats", "tool")
    assert (stats["count"], stats["max_size"]) == (1, 7)
    program = place.start_program("trace/open_calls_killed_worker_name")
    place.ask("status", "--wait")
    program.kill()
