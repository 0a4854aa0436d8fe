"""Switching integrations on: at once, as frameworks are imported, from the command line."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shmperf.integrations.import_hooks import when_imported
from tests.support import PYTHON, Place, program_text

from .frameworks import counts, edges


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module that nobody has imported yet, and which notes that it is loaded."""
    (tmp_path / "arriving.py").write_text("loaded = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = list(sys.meta_path)
    yield "arriving"
    sys.modules.pop("arriving", None)
    assert sys.meta_path == before


def test_callback_runs_once_when_the_module_is_complete(module: str) -> None:
    """Not before the import, not in the middle of it and not at a second one."""
    seen: list[bool] = []
    when_imported(module, lambda: seen.append(sys.modules[module].loaded))
    assert not seen
    found = __import__(module)
    assert seen == [True]
    assert "exec_module" not in vars(found.__loader__)
    del sys.modules[module]
    __import__(module)
    assert seen == [True]


def test_several_wait_for_one_module(module: str) -> None:
    """Each callback runs; one that was taken back does not; late ones run at once."""
    seen: list[int] = []
    for number in range(3):
        give_up = when_imported(module, lambda number=number: seen.append(number))  # type: ignore[misc]  # a lambda's default
        if number == 1:
            give_up()
    __import__(module)
    assert sorted(seen) == [0, 2]
    when_imported(module, lambda: seen.append(3))
    assert seen[-1] == 3


def test_an_import_survives_a_callback_that_fails(
    module: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The program goes on, and a line says what was wrong."""
    when_imported(module, lambda: 1 / 0)
    assert __import__(module).loaded
    assert "division by zero" in caplog.text


def test_what_is_not_there_stays_missing(tmp_path: Path) -> None:
    """Waiting for a module does not make it one, and its import fails as before."""
    give_up = when_imported("no_such_module_anywhere", lambda: None)
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        __import__("no_such_module_anywhere")
    give_up()


def test_switching_all_on_imports_nothing(place: Place) -> None:
    """Without names frameworks are switched on as they are imported, and off again."""
    out = place.run_program("instrumentation/switching_all_on_imports_nothing")
    assert out == "fine\n"
    assert counts(place) == {"abs": (2, 0)}


@pytest.mark.parametrize("names", ["auto", "concurrent.futures, multiprocessing"])
def test_run_needs_no_change_in_the_code(place: Place, names: str) -> None:
    """Every process of the command is switched on, those too that its workers start."""
    place.write("program.py", program_text("instrumentation/pools"))
    place.shmperf("run", "--instrument", names, "--", PYTHON, "program.py")
    assert counts(place) == {"work": (5, 0), "leaf": (5, 0)}
    assert edges(place) == {(None, "work", 5), ("work", "leaf", 5)}


def test_run_switches_on_what_was_named_only(place: Place) -> None:
    """Other integrations stay off."""
    place.write("program.py", program_text("instrumentation/pools"))
    place.shmperf("run", "--instrument", "multiprocessing", "--", PYTHON, "program.py")
    assert counts(place) == {"work": (3, 0)}


def test_run_refuses_an_unknown_name(place: Place) -> None:
    """Before anything is started, and with the names that there are."""
    program = place.start_module("run", "--instrument", "langchian", "--", "true")
    place.finish(program, code=2)
    assert "unknown: langchian; known: multiprocessing, " in program.error_text  # type: ignore[attr-defined]  # set there


def test_another_sitecustomize_is_kept(place: Place) -> None:
    """Whoever has one finds it run and under its name, and his path as it was."""
    place.write("site/sitecustomize.py", "import sys; sys.was_here = True\n")
    place.write("program.py", program_text("instrumentation/another_sitecustomize_kept"))
    command = ("run", "--instrument", "auto", "--", PYTHON, "program.py")
    place.shmperf(*command, PYTHONPATH=str(place.cwd / "site"))


def test_run_without_another_sitecustomize(place: Place) -> None:
    """The interpreter starts as it does without, and says nothing of its own."""
    place.write("program.py", "import sys; print(sys.argv)\n")
    out = place.shmperf("run", "--instrument", "auto", "--", PYTHON, "program.py", "-x")
    assert out == "['program.py', '-x']\n"
