"""
Where the configuration lies, and the options that it makes.

Workers come by here, so the reader of YAML is imported only where there is a file.
"""

from __future__ import annotations

from collections.abc import Mapping

from shmperf.errors import ConfigError
from shmperf.stdlib import Path

from .options import Options

__all__ = ["find", "resolve"]

_PLACES = (
    Path("config/tool_perf_limits.yaml"),
    Path("code_evolver/config/tool_perf_limits.yaml"),
)


def find(explicit: str | None, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """
    The configuration file in force: *explicit*, SHMPERF_CONFIG, then the usual places in *cwd*.

    None means the built-in defaults. A file that was named but is not there is a ConfigError.
    """
    named = explicit or environ.get("SHMPERF_CONFIG")
    if named:
        path = cwd / named
        if not _is_file(path):
            raise ConfigError(str(path), "", "no such file", "a YAML file")
        return path
    return next((cwd / place for place in _PLACES if _is_file(cwd / place)), None)


def resolve(
    explicit: str | None, environ: Mapping[str, str], cwd: Path
) -> tuple[Options, Path | None]:
    """The options in force and the file they come from, if there is one; raises ConfigError."""
    path = find(explicit, environ, cwd)
    if path is None:
        return Options(), None
    # PyYAML costs 26 ms to import: only where there is a file.
    from .file import load  # noqa: PLC0415

    return load(path), path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a directory that may not be searched
        return False
