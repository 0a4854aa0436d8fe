"""What is exported: times as people write them, and the calls that lie between."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from shmperf.exporters.selection import Selection, parse_time

from .test_csv_table import CALL

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("-10m", "2026-01-02T11:50:00.000000+00:00"),
        ("-1.5h", "2026-01-02T10:30:00.000000+00:00"),
        ("-2d", "2025-12-31T12:00:00.000000+00:00"),
        ("2026-01-01", "2026-01-01T00:00:00.000000+00:00"),
        ("2026-01-01T10:00:00+02:00", "2026-01-01T08:00:00.000000+00:00"),
        ("2026-01-01T10:00:00Z", "2026-01-01T10:00:00.000000+00:00"),
    ],
)
def test_times_are_iso_or_relative(text: str, moment: str) -> None:
    """Both kinds of time become one that history's own times compare with."""
    assert parse_time(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "10m", "-10y", "yesterday", f"-{'9' * 400}d", "-9999999d"])
def test_what_is_no_time_is_said(text: str) -> None:
    """The error names what was found and what was expected."""
    with pytest.raises(ValueError, match="expected an ISO time or one like -10m"):
        parse_time(text, NOW)


def test_since_is_within_and_until_is_not() -> None:
    """Two exports that meet in one moment share no call and miss none."""
    at = CALL.timestamp
    later = msgspec.structs.replace(CALL, timestamp="2026-01-02T03:04:06.000000+00:00")
    calls = [CALL, later]
    assert list(Selection(since=later.timestamp).choose(calls)) == [later]
    assert list(Selection(until=later.timestamp).choose(calls)) == [CALL]
    assert list(Selection(since=at, until=at).choose(calls)) == []


def test_parameters_are_left_out_when_asked() -> None:
    """No parameter passes, and the calls are counted."""
    selection = Selection(parameters=False)
    assert [call.params for call in selection.choose([msgspec.structs.replace(CALL)])] == [None]
    assert selection.count == 1
