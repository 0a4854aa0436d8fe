"""What to say after a command of which nothing was recorded: what fits the command that was run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which

from shmperf.views.formatting import printable

__all__ = ["advice"]

_SWITCH = "OPTIMIZED_PERF_TRACKER_ENABLED"
_OFF = frozenset({"false", "0", "no", "off"})
_PYTHON = re.compile(r"(?:python|pypy)[0-9.]*\Z")
_NOT_RUN = frozenset({126, 127})
_BY_HAND = "decorate a function with @shmperf.track, or wrap a block in shmperf.call('name')"


def advice(
    command: Sequence[str], environ: Mapping[str, str], instrument: Sequence[str], code: int
) -> str:
    """A sentence or two; nothing for a command that could not be run, which was told already."""
    if code in _NOT_RUN:
        return ""
    return f"nothing was recorded: {_reason(command, environ, instrument, code)}"


def _reason(
    command: Sequence[str], environ: Mapping[str, str], instrument: Sequence[str], code: int
) -> str:
    switch = environ.get(_SWITCH, "")
    program = printable(Path(command[0]).name, 60)
    if switch.strip().lower() in _OFF:
        return f"{_SWITCH} is {switch!r}, which switches tracking off"
    if not _is_python(command[0]):
        return (
            f"{program} is no Python program; of what it starts, Python programs are recorded that "
            "use shmperf, or what --instrument auto knows, and keep SHMPERF_SESSION and PYTHONPATH"
        )
    if instrument and _ignores_the_path(command):
        return f"{program} runs isolated, so --instrument did not reach it; leave -I, -E or -S out"
    if code:
        return f"{program} ended with {code} before it called a tracked function"
    if instrument:
        names = ",".join(instrument)
        return f"nothing that --instrument {names} tracks was called; {_BY_HAND}"
    return f"{_BY_HAND}; --instrument auto tracks the tools of frameworks without that"


def _is_python(program: str) -> bool:
    """By its name, or by the first line of a script."""
    if _PYTHON.match(Path(program).name) or program.endswith(".py"):
        return True
    try:
        with Path(which(program) or program).open("rb") as file:
            first = file.readline(300)
    except OSError:
        return False
    return first.startswith(b"#!") and b"python" in first


def _ignores_the_path(command: Sequence[str]) -> bool:
    if not _PYTHON.match(Path(command[0]).name):
        return False
    for word in command[1:]:
        if not word.startswith("-") or word.startswith("--") or word in {"-c", "-m", "-"}:
            return False
        if set(word[1:]) & set("IES"):
            return True
    return False
