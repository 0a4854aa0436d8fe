"""
Names that vary without end: a program that writes into a tool's name what is a parameter.

``job 17`` and ``job 18`` are two tools with one call each: neither has statistics worth the name,
each has a ring, a history file and a row in every table. What is found here is only told.

Two ways of making up names are told apart from tools that are merely many: names that are the same
but for numbers and ids, and a great many that share their first word (a URL, a path, a user).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

__all__ = ["Varying", "advice_for", "varying"]

_VARIES = "*"
# From so many on nobody has written them by hand; v1 to v12 somebody has.
_LEAST_ALIKE, _LEAST_AKIN = 50, 500
_EXAMPLES = 3
# Looking for ids takes time by the square of what is looked at: of 10,000 letters most of a second.
_LOOKED_AT = 256
_IDS = re.compile(
    r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"  # a UUID
    r"|(?=[0-9A-Fa-f]*[0-9])[0-9A-Fa-f]{8,}"
    r"|(?=(?:[A-Za-z]*[0-9]){3})[A-Za-z0-9]{12,}"
    r"|[0-9]+(?:[.,][0-9]+)*"
)
_FIRST_WORD = re.compile(r"[^\s:/?#=(\[{|@]+")


class Varying(msgspec.Struct, kw_only=True):
    """Tools whose names follow one *pattern*, ``*`` standing for what varies."""

    pattern: str
    tools: int
    examples: list[str]


def varying(names: Iterable[str]) -> list[Varying]:
    """The patterns that many of *names* follow, those of most tools first."""
    alike: dict[str, list[str]] = {}
    for name in names:
        pattern = _IDS.sub(_VARIES, name[:_LOOKED_AT]) + name[_LOOKED_AT:]
        alike.setdefault(pattern, []).append(name)
    found = [_found(pattern, tools) for pattern, tools in alike.items() if _is_made_up(tools)]
    akin: dict[str, list[str]] = {}
    for pattern, tools in alike.items():
        first = _FIRST_WORD.match(pattern)
        if first is not None and not _is_made_up(tools) and first[0] != pattern:
            akin.setdefault(first[0] + pattern[first.end()], []).extend(tools)
    found += [_found(key + _VARIES, tools) for key, tools in akin.items() if _is_akin(tools)]
    return sorted(found, key=lambda one: (-one.tools, one.pattern))


def advice_for(found: Varying) -> str:
    """One line of advice: what was found, and what to write instead."""
    known = " ".join(found.pattern.replace(_VARIES, " ").split()).strip(" :/?#=([{|@.-_")
    shown = ", ".join(repr(name) for name in found.examples[:2])
    return (
        f"{found.tools:,} tools are named {found.pattern!r} ({shown}): "
        f"one tool{f' {known!r}' if known else ''} with a parameter has statistics of its own"
    )


def _is_made_up(tools: list[str]) -> bool:
    return len(tools) >= _LEAST_ALIKE


def _is_akin(tools: list[str]) -> bool:
    return len(tools) >= _LEAST_AKIN


def _found(pattern: str, tools: list[str]) -> Varying:
    return Varying(pattern=pattern, tools=len(tools), examples=tools[:_EXAMPLES])
