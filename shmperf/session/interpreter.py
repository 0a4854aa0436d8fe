"""
Which interpreter runs a process of ours, and where that one finds what the program has found.

``sys.executable`` is no Python in a frozen program, under uWSGI or in a program that embeds one:
started with our arguments, it would run the program a second time. So it is believed by its name
alone, and else the interpreter that belongs to the program's library is taken:

    what the program has told multiprocessing      an embedding host knows best
    sys.executable, when it is named like one      the rule
    pythonX.Y beside the library that is in use    uWSGI, mod_wsgi, embedding programs
    none                                           frozen programs; told, with what to do

The program's own import path is handed on behind the other's own: dependencies may lie in a
directory or an archive (vendored, ``pip install --target``, zipapp) that only the program knows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator

import shmperf
from shmperf.stdlib import Path, os

__all__ = ["PACKAGE_PARENT", "python_command"]

# What a child of ours needs on its path, wherever the program found this package.
PACKAGE_PARENT = str(Path(os.path.realpath(shmperf.__file__)).parent.parent)

# python, python3.11, python3.13t, .python3.11-wrapped, python3-dbg
_NAME = r"(?i)\.?python(?P<version>\d+(\.\d+)?)?[a-z]{0,2}(-(dbg|wrapped))?(\.exe)?"
_VERSION = sys.version_info[:2]
_BEGIN = (
    "import sys; sys.path[:1] == [''] and sys.path.pop(0); "
    f"sys.version_info[:2] == {tuple(_VERSION)} or sys.exit('the program runs "
    f"Python {_VERSION[0]}.{_VERSION[1]}, and ' + sys.executable + ' is another one'); "
    "sys.path += [p for p in sys.argv.pop(1).split(chr(10)) if p not in sys.path]; "
)


def python_command(run: str, *arguments: str) -> list[str]:
    """
    The command that runs the text *run* with *arguments* as ``sys.argv[1:]``, able to import us.

    OSError, with what to do, where there is no interpreter for it.
    """
    # Not with -P, which older ones take for a mistake: they can't say then what is wrong.
    return [_interpreter(), "-c", _BEGIN + run, _import_path(), *arguments]


def _interpreter() -> str:
    for path in _candidates():
        if os.access(path, os.X_OK):
            return path
    host = Path(sys.executable or sys.argv[0] or "it").name
    raise OSError(
        f"{host} is no Python interpreter that could run one; "
        "run: shmperf collect --session NAME, and set SHMPERF_SESSION=NAME for this program"
    )


def _candidates() -> Iterator[str]:
    if _is_frozen():
        return
    told = _told_multiprocessing()
    if told and told != sys.executable:
        yield told
    version = f"{_VERSION[0]}.{_VERSION[1]}"
    if _is_named_like(Path(sys.executable or "").name, version):
        yield sys.executable
    name = f"python{version}"
    for prefix in dict.fromkeys((sys.prefix, sys.exec_prefix, sys.base_prefix)):
        yield str(Path(prefix) / "bin" / name)


def _is_named_like(name: str, version: str) -> bool:
    """True for the name of a Python of that *version*, or of none that is said."""
    known = ("python", f"python{_VERSION[0]}", f"python{version}")
    if name in known:
        return True  # the rule: no pattern is compiled in a program's first call
    named = re.fullmatch(_NAME, name)
    return named is not None and named["version"] in (None, f"{_VERSION[0]}", version)


def _is_frozen() -> bool:
    """True in a program that brings its own library in a form that no interpreter reads."""
    is_compiled = "__compiled__" in globals()  # Nuitka
    return is_compiled or bool(getattr(sys, "frozen", False) or getattr(sys, "oxidized", False))


def _told_multiprocessing() -> str:
    """What `multiprocessing.set_executable` was given, or what it takes by itself."""
    spawn = sys.modules.get("multiprocessing.spawn")
    told = None if spawn is None else spawn.get_executable()
    return os.fsdecode(told) if told else ""


def _import_path() -> str:
    """Where this package lies and the program's import path, a line each; not where it works."""
    entries = [PACKAGE_PARENT, *(entry for entry in sys.path if entry and isinstance(entry, str))]
    return "\n".join(dict.fromkeys(os.path.abspath(entry) for entry in entries))
