"""Parquet: what DuckDB reads back is what was kept, with its units beside it."""

from __future__ import annotations

from itertools import repeat
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pytest

from shmperf.errors import StoreError
from shmperf.exporters import database
from shmperf.exporters.columns import CALLS
from shmperf.exporters.parquet import export
from shmperf.storage.kept import KeptCall

from .test_lanes import call


def read_back(path: Path, *calls: KeptCall) -> list[tuple[Any, ...]]:
    path.write_bytes(b"".join(export(calls)))
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(f"FROM '{path}'").fetchall()


def test_columns_types_and_units_are_stable(tmp_path: Path) -> None:
    """The schema, its version, and what a number means."""
    path = tmp_path / "calls.parquet"
    ((*row,),) = read_back(path, call("search", 5, 7.061))
    assert [str(value) for value in row] == [
        *("search", "2026-11-23 14:54:27.000005+00:00", "search", "None", "None", "7", "0.007061"),
        *("ok", "None", "None"),
    ]
    with duckdb.connect() as connection:
        described = connection.execute(f"DESCRIBE FROM '{path}'").fetchall()
        kinds = {name: kind for name, kind, *_ in described}
        metadata = connection.execute(
            "SELECT decode(key), decode(value) FROM parquet_kv_metadata($1)", [str(path)]
        ).fetchall()
    assert {
        name: kind.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")
        for name, kind in kinds.items()
    } == CALLS
    assert dict(metadata)["shmperf.schema"] == "1"
    assert dict(metadata)["shmperf.unit.ms"] == "milliseconds"


def test_no_call_is_a_file_with_columns(tmp_path: Path) -> None:
    """Who reads it finds no rows, and no error."""
    assert read_back(tmp_path / "none.parquet") == []


def test_any_text_comes_back(tmp_path: Path) -> None:
    """Quotes, NUL, ten thousand characters; a lone surrogate is its escape."""
    texts = ['a "b"', "nul\0", "x" * 10_000, "\ud800", "line\r\nend", ""]
    calls = [msgspec.structs.replace(call("x", 0, 1), tool=text, params=text) for text in texts]
    rows = read_back(tmp_path / "odd.parquet", *calls)
    expected = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    assert [row[0] for row in rows] == expected
    assert [row[-1] for row in rows] == expected


def test_a_row_may_be_very_long(tmp_path: Path) -> None:
    """Longer than DuckDB takes a row of JSON to be; those beside it come back, too."""
    long = msgspec.structs.replace(call("x", 0, 1), params="x" * (25 << 20))
    rows = read_back(tmp_path / "long.parquet", call("x", 0, 1), long, call("x", 0, 1))
    assert [row[-1] and len(row[-1]) for row in rows] == [None, 25 << 20, None]


def test_pieces_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls once, in their order, however many files they pass through."""
    monkeypatch.setattr(database, "_PIECE_ROWS", 1_000)
    rows = read_back(tmp_path / "many.parquet", *(call(f"x{n}", n, 1) for n in range(3_500)))
    assert [row[0] for row in rows] == [f"x{n}" for n in range(3_500)]


def test_what_fails_while_calls_are_read_is_raised(tmp_path: Path) -> None:
    """Neither swallowed nor waited for for ever."""

    def calls() -> Any:
        yield from repeat(call("x", 0, 1), 5_000)
        raise StoreError("gone")

    with pytest.raises(StoreError, match="gone"):
        list(export(calls()))
