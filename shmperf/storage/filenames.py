"""What the files of a tool are called: its history, and the segments of it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

__all__ = [
    "SUFFIX",
    "file_name",
    "holds_lines",
    "is_history",
    "segments_in",
    "stem_of",
]

SUFFIX = "_perf.jsonl"

_PLAIN_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,79}\Z")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_SEGMENT = re.compile(r"(.+_perf)\.(\d{1,18})\.jsonl(?:\.zst|\.gz)\Z")


def file_name(tool: str) -> str:
    """
    The file of *tool*: safe, bounded, and never another tool's, whatever case file names keep.

    Plain lower-case names stay as they are; any other gets a readable stem and a digest, with a
    dot between them that no plain name contains.
    """
    if _PLAIN_NAME.match(tool):
        return tool + SUFFIX
    digest = hashlib.sha256(tool.encode("utf-8", "surrogatepass")).hexdigest()[:20]
    stem = _UNSAFE.sub("-", tool)[:60].strip("-").lower() or "tool"
    return f"{stem}.{digest}{SUFFIX}"


def stem_of(tool: str) -> str:
    """How the names of the tool's segments begin, before their number."""
    return file_name(tool).removesuffix(".jsonl")


def is_history(name: str) -> bool:
    """True for the name of a file of history, or of a segment."""
    return name.endswith(SUFFIX) or _SEGMENT.match(name) is not None


def holds_lines(path: Path, tool: str) -> bool:
    """True when a directory has a file or a segment of *tool*; OSError."""
    return (path / file_name(tool)).is_file() or stem_of(tool) in segments_in(path)


def segments_in(path: Path) -> dict[str, dict[int, str]]:
    """The segments' names in a directory, by stem and number; OSError."""
    found: dict[str, dict[int, str]] = {}
    with os.scandir(path) as there:
        for one in there:
            match = _SEGMENT.match(one.name)
            if match is not None:
                found.setdefault(match[1], {})[int(match[2])] = one.name
    return found
