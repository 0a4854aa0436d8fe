"""
Characters that a terminal has not: replaced where they are printed, so that nothing fails there.

A stream without UTF-8 gets the nearest of its own characters, one for one, so that columns stay
columns; rich draws lines and trees in ASCII there by itself. Where a user's ``LC_ALL`` says ``C``,
Python prints UTF-8 all the same, since many systems have no locale at all: we go by what was said.
"""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from io import TextIOWrapper
from typing import TextIO

__all__ = ["print_what_fits"]

_HANDLER = "shmperf.nearest"
_NEAREST = str.maketrans(
    {
        "–": "-", "—": "-", "−": "-", "·": "|", "•": "*", "…": "~", "µ": "u", "μ": "u",
        "×": "x", "→": ">", "←": "<", "≤": "<", "≥": ">", "≈": "~", "±": "+", "“": '"', "”": '"',
        "‘": "'", "’": "'", "„": '"', "\u00a0": " ", "─": "-", "│": "|", "└": "`", "├": "+",
        "━": "-", "╸": "-", "╺": "-", "✓": "v", "✗": "x",
        "▏": "-", "▎": "-", "▍": "-", "▌": "=", "▋": "=", "▊": "=", "▉": "#", "█": "#",
    }
)  # fmt: skip


def print_what_fits(stream: TextIO, environ: Mapping[str, str]) -> None:
    """Let *stream* print any text: what its encoding has not is replaced."""
    if not isinstance(stream, TextIOWrapper):
        return  # somebody's own, who knows what it takes
    codecs.register_error(_HANDLER, _replaced)
    if _says_ascii(environ):
        stream.reconfigure(encoding="ascii", errors=_HANDLER)
    else:
        stream.reconfigure(errors=_HANDLER)


def _says_ascii(environ: Mapping[str, str]) -> bool:
    if environ.get("PYTHONIOENCODING") or environ.get("PYTHONUTF8") == "1":
        return False
    return environ.get("LC_ALL") in {"C", "POSIX"}


def _replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    wanted = error.object[error.start : error.end].translate(_NEAREST)
    return wanted.encode("ascii", "replace"), error.end
