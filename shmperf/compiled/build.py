"""
Hatchling's hook: compile `shmperf._hot` as the package is installed.

Where that can't be, the installation is pure Python, and says so in one line; ``shmperf doctor``
repeats it. SHMPERF_NO_COMPILE=1 leaves it out on purpose: the wheel is then one for every system.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CompileHook"]

_FLAGS: tuple[str, ...] = (
    "-std=c11",
    "-O2",
    # The interpreter's own assertions, which its macros hold.
    "-DNDEBUG",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
)
_FLAGS += ("-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-cast-function-type")
_NO_COMPILE, _MORE_FLAGS = "SHMPERF_NO_COMPILE", "SHMPERF_CFLAGS"


class CompileHook(BuildHookInterface[Any]):
    """The hook, for wheels and editable installations."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, in place for an editable installation, and else beside what is packed."""
        package = Path(self.root) / "shmperf"
        place = package if version == "editable" else Path(tempfile.mkdtemp(prefix="shmperf-"))
        why_not = compiled(package / "compiled", place)
        names = [unbuilt_name()] if why_not else [built_name()]
        if why_not:
            (place / unbuilt_name()).write_text(f"{why_not}\n", encoding="utf-8")
            self.app.display_warning(f"shmperf is installed as pure Python: {why_not}")
        else:
            (place / unbuilt_name()).unlink(missing_ok=True)
            build_data["pure_python"], build_data["infer_tag"] = False, True
        if version == "editable":
            return
        for name in names:
            build_data["force_include"][str(place / name)] = f"shmperf/{name}"


def built_name() -> str:
    """The file that Python looks for."""
    return f"_hot{sysconfig.get_config_var('EXT_SUFFIX') or '.so'}"


def unbuilt_name() -> str:
    """As `chosen.unbuilt_file`; nothing of ours can be imported here."""
    return f"_hot-{sys.implementation.cache_tag}.txt"


def digest(sources: Path) -> str:
    """What tells the sources in that directory from any others."""
    found = hashlib.sha256()
    for path in sorted(sources.glob("*.[ch]")):
        found.update(path.name.encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def compiled(sources: Path, place: Path, *more_flags: str) -> str:
    """Compile *sources* into *place*; why not, in a line, when that can't be."""
    if os.environ.get(_NO_COMPILE, "0") not in ("", "0"):
        return f"{_NO_COMPILE} was set"
    if sys.platform != "linux" or sys.implementation.name != "cpython":
        return "there is a compiled path for CPython on Linux alone"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "there is no compiled path for a Python without its global lock"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory(prefix=".hot-", dir=place) as work:
        made = Path(work) / built_name()
        command = [
            *compiler,
            *_FLAGS,
            *more_flags,
            *shlex.split(os.environ.get(_MORE_FLAGS, "")),
            f'-DSHMPERF_SOURCES="{digest(sources)}"',
            f"-I{sysconfig.get_path('include')}",
            *map(str, sorted(sources.glob("*.c"))),
            "-o",
            str(made),
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  no shell
        except OSError as error:
            return f"no compiler ({error})"
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if "error" in line]
            return f"{compiler[0]} failed ({(said or ['no message'])[0][:200]})"
        # By renaming: processes may run what was there before.
        made.replace(place / built_name())
    return ""
