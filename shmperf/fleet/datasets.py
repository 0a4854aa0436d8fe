"""
Lines as rows of datasets, and rows as files: Parquet, or JSON lines of the same columns.

    <kind>/day=2026-01-31/node=<name>/<partition>-<epoch>-<first>-<last>-<digest>.parquet

    calls     the columns of the view ``calls`` (see `shmperf.exporters.columns`); ``remote``: the
              trace of another node's that it belongs to, and of a root, behind a dash, its parent
              there; ``storage``: whose ids it has, one for all origins of a storage; and what it
              failed by, ``fingerprint`` and ``error``, where that is recorded
    totals    what a tool did in an interval, by histogram
    alerts    each change of an alert
    others    lines of no kind that is known here, as text: of a newer version, or damaged

Each has ``node``, ``origin`` and ``number`` behind its first columns: who recorded it, in which run
of a storage's numbers, as which line of its outbox. Every line that was stored is one row of one
dataset. The day is that of the start, UTC; a time that can't be read is of 1970-01-01.

The schema is stable: a column is added at the end or not at all; its version stands in the file's
metadata. Files without a column that came later have NULL there (readers go by name).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import date
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from shmperf.errors import StoreError
from shmperf.exporters.columns import CALLS, values_of
from shmperf.exporters.database import Database, Row, opened, quoted
from shmperf.files import translated
from shmperf.storage.kept import kept_in

__all__ = ["COLUMNS", "FORMATS", "Line", "Writer", "digest_of", "row_of"]

_SOURCE = {"node": "VARCHAR", "origin": "VARCHAR", "number": "BIGINT"}
_MORE_OF_CALLS = {
    "remote": "VARCHAR",
    "storage": "VARCHAR",
    "fingerprint": "VARCHAR",
    "error": "VARCHAR",
}
COLUMNS: Mapping[str, Mapping[str, str]] = {
    "calls": {**CALLS, **_SOURCE, **_MORE_OF_CALLS},
    "totals": {
        "tool": "VARCHAR",
        "began": "TIMESTAMPTZ",
        "ended": "TIMESTAMPTZ",
        "calls": "BIGINT",
        "errors": "BIGINT",
        "aborted": "BIGINT",
        "sampled_out": "BIGINT",
        "own_ns": "BIGINT",
        "sum_ns": "BIGINT",
        "min_ns": "BIGINT",
        "max_ns": "BIGINT",
        "zero_count": "BIGINT",
        "untimed": "BIGINT",
        "histogram": "MAP(INTEGER, BIGINT)",
        **_SOURCE,
    },
    "alerts": {
        "id": "VARCHAR",
        "kind": "VARCHAR",
        "tool": "VARCHAR",
        "severity": "VARCHAR",
        "began": "TIMESTAMPTZ",
        "ended": "TIMESTAMPTZ",
        "text": "VARCHAR",
        "evidence": "VARCHAR",
        **_SOURCE,
    },
    "others": {"line": "VARCHAR", **_SOURCE},
}
FORMATS = ("parquet", "jsonl")
_METADATA = {
    "shmperf.schema": "1",
    "shmperf.unit.ms": "milliseconds",
    "shmperf.unit.timestamp": "start of the call, UTC, microseconds",
    "shmperf.format.params": "JSON, perhaps cut",
}
_OPTIONS = "COMPRESSION zstd"
_UNKNOWN_DAY = "1970-01-01"
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}\Z")
_COUNT = Annotated[int, Meta(ge=0, le=(1 << 62))]
_BUCKET = Annotated[int, Meta(ge=-(1 << 30), le=1 << 30)]
_json = msgspec.json.Encoder().encode


class Line(NamedTuple):
    """A line of an outbox as a row: its kind and day, and its values by column."""

    kind: str
    day: str
    row: Row


class _Totals(msgspec.Struct, rename={"from_": "from"}, gc=False):
    """What a line of totals says, as `shmperf.storage.outbox` writes it."""

    tool: str
    from_: str
    to: str
    count: _COUNT = 0
    errors: _COUNT = 0
    aborted: _COUNT = 0
    sampled_out: _COUNT = 0
    own_ns: _COUNT = 0
    sum_ns: _COUNT = 0
    min_ns: _COUNT | None = None
    max_ns: _COUNT | None = None
    zero_count: _COUNT = 0
    untimed: _COUNT = 0
    histogram: dict[_BUCKET, _COUNT] = {}


class _Alert(msgspec.Struct, gc=False):
    id: str
    kind: str
    severity: str
    began: str
    text: str
    tool: str | None = None
    ended: str | None = None
    evidence: dict[str, Any] = {}


class _AlertLine(msgspec.Struct, gc=False):
    alert: _Alert


class _Kind(msgspec.Struct, gc=False):
    kind: str


_decode_kind = msgspec.json.Decoder(_Kind).decode
_decode_totals = msgspec.json.Decoder(_Totals).decode
_decode_alert = msgspec.json.Decoder(_AlertLine).decode
_CALL = b'{"kind":"call",'


def row_of(line: bytes) -> Line:
    """*line* of an outbox as a row, its source not yet told; what it can't be is of ``others``."""
    if line.startswith(_CALL):
        return _call(line) or _other(line)
    try:
        make = _MADE.get(_decode_kind(line).kind, _other)
        return make(line) or _other(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return _other(line)


def _call(line: bytes) -> Line | None:
    call = kept_in(line, with_params=True)
    if call is None:
        return None
    row: Row = dict(zip(CALLS, values_of(call), strict=True))
    row.update(remote=call.remote, fingerprint=call.fingerprint, error=call.error)
    return Line("calls", _day(call.timestamp), row)


def _totals(line: bytes) -> Line:
    said = _decode_totals(line)
    row = msgspec.structs.asdict(said)
    row["began"], row["ended"], row["calls"] = row.pop("from_"), row.pop("to"), row.pop("count")
    return Line("totals", _day(said.from_), row)


def _alert(line: bytes) -> Line:
    said = _decode_alert(line).alert
    row = msgspec.structs.asdict(said)
    row["evidence"] = _json(said.evidence).decode()
    return Line("alerts", _day(said.began), row)


def _other(line: bytes) -> Line:
    return Line("others", _UNKNOWN_DAY, {"line": line.decode("utf-8", "backslashreplace")})


_MADE: Mapping[str, Callable[[bytes], Line | None]] = {
    "call": _call,
    "totals": _totals,
    "alert": _alert,
}


def _day(timestamp: str) -> str:
    """The day in a time as ours are written: in UTC."""
    day = timestamp[:10]
    if not _DAY.match(day) or not timestamp.endswith("+00:00"):
        return _UNKNOWN_DAY
    try:
        date.fromisoformat(day)
    except ValueError:
        return _UNKNOWN_DAY
    return day


def digest_of(parts: Iterable[bytes]) -> str:
    """What tells the contents of an object, in its name: equal names, equal rows."""
    found = blake2b(digest_size=8)
    for part in parts:
        found.update(len(part).to_bytes(8, "little"))
        found.update(part)
    return found.hexdigest()


class Writer:
    """Rows as the bytes of a file; one thread. Keeps a database of its own for all files."""

    def __init__(self, form: str) -> None:
        """In one of FORMATS; StoreError where there is no DuckDB."""
        self.form = form
        self._stack = ExitStack()
        self._database: Database | None = None

    def body(self, kind: str, rows: Iterable[Row]) -> bytes:
        """A file of *rows* of that kind; StoreError where there is no room to make it."""
        if self.form == "jsonl":
            return b"".join(_json_line(kind, row) for row in rows)
        database = self._opened()
        try:
            database.drop("rows")
            database.add("rows", COLUMNS[kind], rows)
            return self._copied(database, "rows", kind)
        except StoreError:
            self.close()
            raise

    def merged(self, kind: str, bodies: Iterable[bytes]) -> bytes:
        """One file of the rows of many of the same form, in the order of their lines."""
        if self.form == "jsonl":
            return b"".join(bodies)
        database = self._opened()
        try:
            return self._merged(database, kind, bodies)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        """Let the database go; the next file gets another one."""
        self._database = None
        self._stack.close()

    def _merged(self, database: Database, kind: str, bodies: Iterable[bytes]) -> bytes:
        paths = []
        try:
            for number, body in enumerate(bodies):
                path = database.directory / f"part-{number}.parquet"
                paths.append(path)
                try:
                    path.write_bytes(body)
                except OSError as error:
                    raise translated(error, path.parent, StoreError) from None
            listed = ", ".join(f"'{quoted(str(path))}'" for path in paths)
            read = f"read_parquet([{listed}], union_by_name=true, hive_partitioning=false)"
            return self._copied(database, f"(FROM {read} ORDER BY origin, number)", kind)
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def _copied(self, database: Database, source: str, kind: str) -> bytes:
        metadata = {**_METADATA, "shmperf.kind": kind}
        with database.copied(source, "parquet", _OPTIONS, metadata) as path:
            return path.read_bytes()

    def _opened(self) -> Database:
        if self._database is None:
            self._database = self._stack.enter_context(opened())
        return self._database


def _json_line(kind: str, row: Row) -> bytes:
    """A row with all columns of its kind, in their order."""
    return _json({name: row.get(name) for name in COLUMNS[kind]}) + b"\n"
