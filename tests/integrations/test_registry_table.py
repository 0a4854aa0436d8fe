"""What all integrations share: they cost nothing until asked for, and say what they need."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import shmperf
from shmperf.errors import IntegrationError
from shmperf.integrations.patching import imported, live, replace, undo_all
from shmperf.integrations.registry import KNOWN
from tests.support import PYTHON, Place, program_text

MODULES = sorted(
    path.stem for path in (Path(shmperf.__file__).parent / "integrations").glob("*.py")
)
FRAMEWORKS = {
    name: known.package
    for name, known in KNOWN.items()
    if known.package not in ("multiprocessing", "concurrent.futures", "threading")
}


def test_no_module_imports_its_framework(place: Place) -> None:
    """Importing every integration imports none of the frameworks."""
    names = [f"shmperf.integrations.{name}" for name in MODULES]
    packages = sorted({package.partition(".")[0] for package in FRAMEWORKS.values()})
    place.write(
        "program.py",
        f"import importlib, sys\n"
        f"for name in {names}: importlib.import_module(name)\n"
        f"print([name for name in {packages} if name in sys.modules])\n",
    )
    assert place.run(PYTHON, "program.py").strip() == "[]"


def test_each_framework_has_an_extra() -> None:
    """What `instrument` knows can be installed by that name, and all of them together."""
    file = Path(__file__).parent.parent.parent / "pyproject.toml"
    extras = tomllib.loads(file.read_text())["project"]["optional-dependencies"]
    for name in FRAMEWORKS:
        assert extras[name], name
        assert set(extras[name]) <= set(extras["integrations"]), name
    assert extras["integrations"] == sorted(extras["integrations"])


def test_a_missing_framework_names_the_command(place: Place) -> None:
    """One line says what to install."""
    place.write(
        "program.py",
        program_text("instrumentation/missing_framework_names_command"),
    )
    out = place.run(PYTHON, "program.py")
    assert "pip install 'shmperf[celery]'" in out


def test_a_missing_hook_names_version_and_versions() -> None:
    """The error says what is installed, what is missing and which versions have it."""
    with pytest.raises(IntegrationError, match=r"pytest \d.*no_such_name.*pytest >=99"):
        imported("pytest", "fixture", "no_such_name.part", package="pytest", having=">=99")
    with pytest.raises(IntegrationError, match="unknown version"):
        imported("no_such_module", package="no-such-package", having=">=1")


def test_replacing_is_undone_exactly() -> None:
    """An attribute of its own comes back, an inherited one is inherited again."""

    class Base:
        def own(self) -> int:
            return 1

    class Child(Base):
        pass

    before = vars(Base)["own"]
    undo = undo_all(replace(Base, "own", None), replace(Child, "own", 5))
    assert (Base.own, Child.own) == (None, 5)
    undo()
    assert vars(Base)["own"] is before
    assert "own" not in vars(Child)


def test_live_instances_are_found() -> None:
    """Instances that exist are found, those of subclasses too, and nothing is asked of others."""

    class Server:
        pass

    class Special(Server):
        pass

    class Proxy:
        @property
        def __class__(self) -> type:  # type: ignore[override]
            raise RuntimeError

    here = [Server(), Special(), Proxy()]
    assert sorted(map(id, live(Server))) == sorted(map(id, here[:2]))
