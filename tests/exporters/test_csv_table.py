"""Comma-separated values: every cell comes back, no cell is a formula, memory stays bounded."""

from __future__ import annotations

import csv
import io
import math
from itertools import repeat

import msgspec
import pytest

from shmperf.exporters.columns import CALLS
from shmperf.exporters.csv_table import export
from shmperf.storage.kept import KeptCall, kept_call

CALL = KeptCall(
    tool="search",
    timestamp="2026-01-02T03:04:05.000006+00:00",
    id="000000010000fa00",
    pid=7,
    parent=None,
    trace=None,
    duration_s=7.061e-6,
    status="ok",
    err=None,
    error=None,
    fingerprint=None,
    params='{"query":"a,\\"b\\""}',
)


def _rows(*calls: KeptCall) -> list[dict[str, str]]:
    text = b"".join(export(calls)).decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_a_call_is_a_line_of_the_columns_of_the_view_calls() -> None:
    """Cells come back as they were, and what is not known is empty."""
    (row,) = _rows(CALL)
    assert tuple(row) == tuple(CALLS)
    assert (row["tool"], row["ms"], row["pid"]) == ("search", "0.007061", "7")
    assert (row["parent"], row["trace"], row["err"]) == ("", "", "")
    assert row["params"] == CALL.params


@pytest.mark.parametrize("seconds", [None, math.nan, math.inf])
def test_what_is_no_duration_is_an_empty_cell(seconds: float | None) -> None:
    """An aborted call has no end, and no cell says NaN."""
    assert _rows(msgspec.structs.replace(CALL, duration_s=seconds))[0]["ms"] == ""


@pytest.mark.parametrize("first", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b"])
def test_no_text_is_a_formula(first: str) -> None:
    """What a spreadsheet would run begins with an apostrophe."""
    text = f"{first}cmd|' /C calc'!A0"
    (row,) = _rows(msgspec.structs.replace(CALL, tool=text, err=text, params=text))
    assert {row["tool"], row["err"], row["params"]} == {f"'{text}"}


def test_any_text_comes_back() -> None:
    """Quotes, commas, line ends and lone surrogates stay within their cell."""
    (row,) = _rows(msgspec.structs.replace(CALL, params='a"b,c\r\nd\ne', err="\ud800"))
    assert (row["params"], row["err"]) == ('a"b,c\r\nd\ne', "\\ud800")


def test_calls_without_end_take_bounded_chunks() -> None:
    """The first chunk comes without the last call."""
    assert len(next(export(repeat(CALL)))) < 1 << 18


def test_a_line_of_wrong_types_is_still_a_row() -> None:
    """A history file that somebody edited makes odd cells, and no error."""
    line = {"tool": 3, "timestamp": None, "data": {"d": "x", "pid": [], "p": {"a": 1}, "status": 5}}
    (row,) = _rows(kept_call(line))
    assert (row["tool"], row["ms"], row["pid"], row["status"]) == ("3", "", "", "5")
    assert kept_call({"data": {"d": 10**400}}).duration_s is None
