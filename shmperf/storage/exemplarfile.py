"""
``exemplars.jsonl``: the slowest calls of every tool and its latest failed ones, a line each.

A line is one of history, with what lay below the call:

    {"tool", "timestamp", "data": …, "kinds": ["slow", "failed"],
     "subtree": [{"tool", "id", "parent", "s", "d"}, …], "truncated": true}

``s`` and ``d`` are start and duration in seconds; calls nearer to the top come first. ``truncated``
stands there when calls below are missing. The file is for people and other programs: what counts is
the journal, so it is replaced as a whole when something is flushed, and nothing reads it here.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

import msgspec

from shmperf.analysis.exemplars import Exemplar
from shmperf.analysis.lately import Node
from shmperf.files import open_private

from .lines import Line, line_of

__all__ = ["EXEMPLARS", "renew"]

EXEMPLARS = "exemplars.jsonl"

# About what a line costs without the call's own texts, and how much is written in a step.
_LINE_BYTES = 300
_CHUNK_BYTES = 1 << 18
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_json_lines = msgspec.json.Encoder().encode_lines


class _Below(msgspec.Struct, gc=False):
    tool: str
    id: str
    parent: str
    s: float
    d: float


class _ExemplarLine(Line, omit_defaults=True, gc=False):
    kinds: list[str]
    subtree: list[_Below]
    truncated: bool = False


def renew(storage: Path, exemplars: Iterable[tuple[Exemplar, list[str]]]) -> Generator[None]:
    """
    Replace the file by *exemplars*, each with what it is one of; remove it when there are none.

    In steps, none of which takes long. OSError leaves the former file as it was.
    """
    path, aside = storage / EXEMPLARS, storage / f".{EXEMPLARS}.new"
    aside.unlink(missing_ok=True)
    chunks = _chunks(exemplars)
    first = next(chunks, b"")
    if not first:
        path.unlink(missing_ok=True)
        return
    try:
        with os.fdopen(open_private(aside, _NEW), "wb") as file:
            file.write(first)  # point: exemplars-write
            for chunk in chunks:
                yield
                file.write(chunk)
        aside.replace(path)  # point: exemplars-replace
    except (OSError, GeneratorExit):
        with contextlib.suppress(OSError):
            aside.unlink()
        raise


def _chunks(exemplars: Iterable[tuple[Exemplar, list[str]]]) -> Iterator[bytes]:
    """Lines of some exemplars each: of so many, or of those below which so many bytes lie."""
    lines: list[_ExemplarLine] = []
    size = 0
    for exemplar, kinds in exemplars:
        lines.append(_line(exemplar, kinds))
        size += _LINE_BYTES + exemplar.size_bytes
        if size >= _CHUNK_BYTES:
            yield _json_lines(lines)
            lines, size = [], 0
    if lines:
        yield _json_lines(lines)


def _line(exemplar: Exemplar, kinds: list[str]) -> _ExemplarLine:
    plain = line_of(exemplar.call)
    return _ExemplarLine(
        plain.tool,
        plain.timestamp,
        plain.data,
        kinds,
        [_below(node) for node in exemplar.nodes()],
        exemplar.is_cut,
    )


def _below(node: Node) -> _Below:
    return _Below(
        node.tool,
        f"{node.id:016x}",
        f"{node.parent:016x}",
        node.start_ns / 1e9,
        node.duration_ns / 1e9,
    )
