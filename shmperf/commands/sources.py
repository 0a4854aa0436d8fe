"""
What can be compared: a storage directory, a time in it, a report, a file of statistics.

    DIR              all that was counted there since the last cleanup
    DIR@FROM..TO     of that time, from the intervals; an end is an ISO time, -10m, or nothing
    FILE             a report of the optimization cycle, what `stats --json` has printed, or what
                     pytest has written with --shmperf-json

A file is somebody else's: what does not have the shape of ours is refused, with the place.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from shmperf.analysis.diff import Earlier, Measured
from shmperf.analysis.quantiles import Histogram
from shmperf.analysis.runreport import SCHEMA
from shmperf.analysis.totals import Bucket, Totals
from shmperf.errors import StoreError
from shmperf.exporters.selection import parse_time
from shmperf.files import reason_of
from shmperf.query.answers import Answers, check_storage, find_answers, request_for
from shmperf.query.changed import measured_between, measured_in

from .nearest import refuse_missing

__all__ = ["read_earlier", "read_source"]

_MOST_BYTES = 512 << 20
_MOST_S = 1e9

Count = Annotated[int, Meta(ge=0, le=1 << 60)]
Seconds = Annotated[float, Meta(ge=0, le=_MOST_S)]


class _Row(msgspec.Struct, kw_only=True):
    """A tool of ``stats --json``, as far as a comparison needs it."""

    count: Count
    errors: Count = 0
    aborted: Count = 0
    sampled_out: Count = 0
    p50_s: Seconds | None = None
    p95_s: Seconds | None = None
    p99_s: Seconds | None = None
    min_duration_s: Seconds | None = None
    max_duration_s: Seconds | None = None
    histogram: dict[Bucket, Count] | None = None


class _StatsFile(msgspec.Struct, kw_only=True):
    tool_stats: dict[str, _Row]


class _ReportRow(msgspec.Struct, kw_only=True):
    """A tool of a report, in milliseconds."""

    count: Count
    errors: Count = 0
    aborted: Count = 0
    p50_ms: Seconds | None = None
    p95_ms: Seconds | None = None
    p99_ms: Seconds | None = None
    min_ms: Seconds | None = None
    max_ms: Seconds | None = None
    histogram: dict[Bucket, Count] | None = None

    def in_seconds(self) -> _Row:
        return _Row(
            count=self.count,
            errors=self.errors,
            aborted=self.aborted,
            p50_s=_thousandth(self.p50_ms),
            p95_s=_thousandth(self.p95_ms),
            p99_s=_thousandth(self.p99_ms),
            min_duration_s=_thousandth(self.min_ms),
            max_duration_s=_thousandth(self.max_ms),
            histogram=self.histogram,
        )


class _ReportFile(msgspec.Struct, kw_only=True):
    schema: int
    tools: dict[str, _ReportRow]


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def read_source(text: str, environ: Mapping[str, str] = os.environ) -> dict[str, Measured]:
    """
    What *text* names, by tool; tools without a call that ended are left out.

    Raises StoreError, which says in a line what is wrong.
    """
    if not os.path.lexists(text) and "@" in text:
        place, _, span = text.rpartition("@")
        return _in_time(_answers(place, environ), text, span)
    path = Path(text)
    if path.is_file():
        return _from_file(path)
    return measured_in(_answers(text, environ))


def read_earlier(text: str | None) -> Earlier | None:
    """What *text* names, by that name; None without one, StoreError as above."""
    return None if text is None else Earlier(text, read_source(text))


def _answers(place: str, environ: Mapping[str, str]) -> Answers:
    answers = find_answers(request_for(session=None, storage=place, config=None, environ=environ))
    refuse_missing(answers)
    check_storage(answers)
    return answers


def _in_time(answers: Answers, text: str, span: str) -> dict[str, Measured]:
    first, dots, last = span.partition("..")
    if not dots:
        raise StoreError(f"{text}: expected DIR@FROM..TO, found no '..' behind the '@'")
    now = datetime.now(UTC)
    try:
        since_s, until_s = (_moment(end, now) if end else None for end in (first, last))
    except ValueError as error:
        raise StoreError(f"{text}: {error}") from None
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise StoreError(f"{text}: that time ends before it begins")
    found = measured_between(answers, since_s, until_s)
    if not found:
        raise StoreError(f"{text}: no calls in that time")
    return found


def _moment(text: str, now: datetime) -> float:
    return datetime.fromisoformat(parse_time(text, now)).timestamp()


def _from_file(path: Path) -> dict[str, Measured]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise StoreError(f"{path}: {reason_of(error)}") from None
    if len(text) > _MOST_BYTES:
        raise StoreError(f"{path}: more than {_MOST_BYTES >> 20} MiB")
    rows = _rows(path, text)
    return {tool: _from_row(row) for tool, row in rows.items() if row.count or row.aborted}


def _rows(path: Path, text: bytes) -> dict[str, _Row]:
    try:
        keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        if "tool_stats" in keys:
            return msgspec.json.decode(text, type=_StatsFile).tool_stats
        if "tools" in keys and "schema" in keys:
            report = msgspec.json.decode(text, type=_ReportFile)
            if report.schema == SCHEMA:
                return {tool: row.in_seconds() for tool, row in report.tools.items()}
            raise StoreError(f"{path}: found schema {report.schema}, expected {SCHEMA}")
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: neither a report nor statistics of shmperf: {error}") from None
    expected = "found neither 'tool_stats' nor a report's 'tools'"
    raise StoreError(f"{path}: neither a report nor statistics of shmperf: {expected}")


def _from_row(row: _Row) -> Measured:
    totals = Totals(
        count=row.count,
        # Somebody may have edited it: more than all can't have failed.
        errors=min(row.errors, row.count),
        aborted=row.aborted,
        sampled_out=min(row.sampled_out, row.count),
    )
    totals.min_ns, totals.max_ns = _ns(row.min_duration_s), _ns(row.max_duration_s)
    if row.histogram is not None:
        totals.histogram = row.histogram
        # Of a sampled tool failed calls may be missing that nobody timed.
        rest = row.count - sum(row.histogram.values())
        totals.zero_count = 0 if row.sampled_out else max(0, rest)
    named = {"p50": row.p50_s, "p95": row.p95_s, "p99": row.p99_s}
    return Measured(
        totals,
        None if row.histogram is None else Histogram(totals),
        {name: value * 1e9 for name, value in named.items() if value is not None},
    )


def _ns(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1e9)
