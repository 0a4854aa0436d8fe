"""What tests read back of each format: the tools whose calls a file shows."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import duckdb

__all__ = ["NAMES_IN"]

_SPAN = "execute_tool "


def _csv(path: Path) -> set[str]:
    rows = csv.DictReader(io.StringIO(path.read_bytes().decode(), newline=""))
    return {row["tool"] for row in rows}


def _chrome(path: Path) -> set[str]:
    events = json.loads(path.read_text())["traceEvents"]
    return {event["name"] for event in events if event["ph"] in "Xb"}


def _speedscope(path: Path) -> set[str]:
    frames = json.loads(path.read_text())["shared"]["frames"]
    return {frame["name"].removesuffix(" (never ended)") for frame in frames}


def _folded(path: Path) -> set[str]:
    return {line.rpartition(" ")[0].rpartition(";")[2] for line in path.read_text().split("\n")}


def _parquet(path: Path) -> set[str]:
    with duckdb.connect() as connection:
        rows = connection.execute("SELECT DISTINCT tool FROM read_parquet($1)", [str(path)])
        return {tool for (tool,) in rows.fetchall()}


def _otlp(path: Path) -> set[str]:
    names = set()
    for line in path.read_text().splitlines():
        for resource in json.loads(line)["resourceSpans"]:
            for scope in resource["scopeSpans"]:
                names |= {span["name"].removeprefix(_SPAN) for span in scope["spans"]}
    return names


NAMES_IN: dict[str, Callable[[Path], set[str]]] = {
    "csv": _csv,
    "chrome": _chrome,
    "speedscope": _speedscope,
    "folded": _folded,
    "parquet": _parquet,
    "otlp": _otlp,
}
