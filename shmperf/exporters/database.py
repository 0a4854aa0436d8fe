"""
Records as tables of a database (DuckDB), for ``shmperf sql`` and for Parquet.

    calls        the kept calls, a row each
    tools        exact totals, a row a tool
    intervals    what a tool did in 30 s, 5 min or 1 h: a row an interval and tool
    percentile   a macro: percentile(list(histogram), 0.95) of any intervals, in milliseconds

Rows go into the database in pieces, each through a file of JSON lines: a piece is in memory, and
never all of them. Files and database lie in a directory of our own, and go with it.

Why not through a pipe, all in one: of what can't be sought in, DuckDB keeps every byte that it has
read, and two millions of calls were a gigabyte of memory.

Times are UTC. Durations are milliseconds, and their columns' names end in ``ms``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from shmperf.analysis.packedtotals import IntervalTotals
from shmperf.analysis.spans import IntervalsView
from shmperf.analysis.stats import Figures
from shmperf.analysis.totals import Totals, upper_bound
from shmperf.errors import StoreError
from shmperf.files import translated
from shmperf.storage.kept import KeptCall
from shmperf.storage.lines import timestamp

from .columns import CALLS, values_of
from .workplace import workplace

__all__ = ["COUNTED", "Database", "Row", "counted", "opened", "quoted"]

_FETCHED = 1_000
# What DuckDB holds at most, while rows come in; more for a row that is so long.
_MEMORY = "256MB"
_LONG_ROW, _TIMES_LONGEST = 24 << 20, 12
# A piece: as many rows as DuckDB puts into a group of its own, unless they are long.
_PIECE_ROWS = 122_880
_PIECE_BYTES = 32 << 20
_WRITTEN_ROWS = 1_000
_LEAST_OBJECT = 1 << 20
_encode = msgspec.json.Encoder().encode

# Columns of the other tables, and their types.
COUNTED = {
    "calls": "BIGINT",
    "errors": "BIGINT",
    "aborted": "BIGINT",
    "sampled_out": "BIGINT",
    "total_ms": "DOUBLE",
    "min_ms": "DOUBLE",
    "p50_ms": "DOUBLE",
    "p95_ms": "DOUBLE",
    "p99_ms": "DOUBLE",
    "max_ms": "DOUBLE",
    "histogram": "STRUCT(upper_ms DOUBLE, calls BIGINT)[]",
}
_TOOLS = {"tool": "VARCHAR", **COUNTED, "in_flight": "BIGINT", "kept": "BIGINT"}
_INTERVALS = {
    "tool": "VARCHAR",
    "began": "TIMESTAMPTZ",
    "seconds": "DOUBLE",
    **COUNTED,
    "own_ms": "DOUBLE",
}
# Histograms add up; the answer is the upper bound of the bucket that holds the rank.
_PERCENTILE = """
CREATE MACRO percentile(histograms, q) AS (
    SELECT min(upper_ms) FROM (
        SELECT upper_ms, sum(calls) OVER (ORDER BY upper_ms) AS below, sum(calls) OVER () AS every
        FROM (
            SELECT bucket.upper_ms AS upper_ms, sum(bucket.calls) AS calls
            FROM (SELECT unnest(flatten(histograms)) AS bucket) GROUP BY bucket.upper_ms
        )
    ) WHERE below >= q * every
)
"""

# While rows come in: one thread takes them as fast as they are made, in half the memory of more,
# and in their order. The names of Python's variables are no tables. A query reads and writes
# nothing but its own tables and this directory, and loads nothing.
_FILLING = (
    "threads = 1",
    "TimeZone = 'UTC'",
    "python_enable_replacements = false",
    "enable_external_access = false",
)
# What a query can't change any more. Some aggregates need their rows in memory; sorts and joins
# do not.
_ASKING = ("memory_limit = '512MB'", "lock_configuration = true")

Row = dict[str, Any]


@contextmanager
def opened(reads: Iterable[Path] = ()) -> Iterator[Database]:
    """
    An empty database; StoreError where there is no DuckDB, or no room for one.

    Queries may read what lies in the directories *reads*, too.
    """
    try:
        import duckdb  # noqa: PLC0415  an extra, and a fifth of a second
    except ImportError:
        raise StoreError("DuckDB is not installed: pip install 'shmperf[sql]'") from None
    with ExitStack() as stack:
        with _no_room_in_a_line():
            directory = stack.enter_context(workplace())
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": _MEMORY,
            "temp_directory": str(directory),
        }
        with _errors_in_a_line():
            connection = duckdb.connect(str(directory / "records"), config=settings)
        stack.enter_context(connection)
        places = ", ".join(f"'{quoted(str(place))}'" for place in (directory, *reads))
        allowed = f"allowed_directories = [{places}]"
        for setting in (allowed, *_FILLING):
            connection.execute(f"SET {setting}")
        yield Database(connection, directory)


@contextmanager
def _no_room_in_a_line() -> Iterator[None]:
    """What fails in the temporary directory as StoreError; other files are for others to tell."""
    try:
        yield
    except OSError as error:
        raise translated(error, tempfile.gettempdir(), StoreError) from None


@contextmanager
def _errors_in_a_line() -> Iterator[None]:
    """What DuckDB raises as StoreError; what it makes of a signal as what it was."""
    import duckdb  # noqa: PLC0415  it is there by now

    try:
        yield
    except duckdb.Error as error:
        raise StoreError(_in_a_line(error)) from None
    except RuntimeError as error:
        if str(error) != "Query interrupted":
            raise
        raise KeyboardInterrupt from None


class Found(NamedTuple):
    """The names of the columns, each once, and the rows."""

    names: list[str]
    rows: Iterator[tuple[Any, ...]]


class Database:
    """Tables that are filled, and queries over them; errors of DuckDB are StoreError."""

    def __init__(self, connection: Any, directory: Path) -> None:
        self._connection = connection
        self._directory = directory
        self._is_sealed = False

    def add_calls(self, calls: Iterable[KeptCall]) -> int:
        """The table ``calls``; how many there are."""
        return self.add("calls", CALLS, map(_of_call, calls))

    def add_tools(self, figures: Figures) -> None:
        """The table ``tools``."""
        known = figures.totals.items()
        self.add("tools", _TOOLS, (_of_tool(tool, totals, figures) for tool, totals in known))

    def add_intervals(self, intervals: IntervalsView) -> None:
        """The table ``intervals``."""
        rows = (
            _of_interval(tool, span.start_s, span.length_s, totals)
            for span in intervals.spans()
            for tool, totals in span.tools.items()
        )
        self.add("intervals", _INTERVALS, rows)

    def add_percentile(self) -> None:
        """The macro ``percentile`` of histograms."""
        self._execute(_PERCENTILE)

    def add(self, table: str, columns: Mapping[str, str], rows: Iterable[Row]) -> int:
        """A table of *columns*, each with its type, and of *rows*; how many there are."""
        types = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        self._execute(f"CREATE TABLE {table} ({types})")
        path = self._directory / "rows"
        rest = iter(rows)
        count = 0
        while piece := _piece_of(rest, path):
            if piece.longest > _LONG_ROW:
                self._execute(f"SET memory_limit = '{piece.longest * _TIMES_LONGEST >> 20}MiB'")
            self._execute(f"INSERT INTO {table} {_selected(path, columns, piece.longest)}")
            count += piece.rows
        return count

    def query(self, query: str) -> Found:
        """What *query* finds, as it comes; no rows are added any more."""
        if not self._is_sealed:
            self._is_sealed = True
            for statement in ("RESET threads", *(f"SET {setting}" for setting in _ASKING)):
                self._execute(statement)
        cursor = self._execute(query)
        if cursor is None:
            raise StoreError("the query holds no statement")
        names = [column[0] for column in cursor.description or ()]
        return Found(_told_apart(names), self._fetched(cursor))

    def _fetched(self, cursor: Any) -> Iterator[tuple[Any, ...]]:
        while rows := self._fetched_piece(cursor):
            yield from rows

    def _fetched_piece(self, cursor: Any) -> list[tuple[Any, ...]]:
        with _errors_in_a_line():
            found: list[tuple[Any, ...]] = cursor.fetchmany(_FETCHED)
            return found

    @contextmanager
    def written(
        self, calls: Iterable[KeptCall], form: str, options: str, metadata: Mapping[str, str]
    ) -> Iterator[Path]:
        """A file of *calls* in one of DuckDB's forms, for as long as it is needed."""
        self.add_calls(calls)
        with self.copied("calls", form, options, metadata) as path:
            yield path

    @contextmanager
    def copied(
        self, source: str, form: str, options: str, metadata: Mapping[str, str]
    ) -> Iterator[Path]:
        """A file of a table, or of a query in parentheses, for as long as it is needed."""
        path = self._directory / f"copied.{form}"
        pairs = ", ".join(f"'{quoted(key)}': '{quoted(value)}'" for key, value in metadata.items())
        told = f"FORMAT {form}, {options}, KV_METADATA {{{pairs}}}"
        try:
            self._execute(f"COPY {source} TO '{quoted(str(path))}' ({told})")
            yield path
        finally:
            path.unlink(missing_ok=True)

    def drop(self, table: str) -> None:
        """Without that table, if it is there."""
        self._execute(f"DROP TABLE IF EXISTS {table}")

    def add_view(self, name: str, query: str) -> None:
        """A view: *query* is ours, its texts quoted by `quoted`."""
        self._execute(f"CREATE VIEW {name} AS {query}")

    def register(self, name: str, source: object) -> None:
        """A view of what Arrow scans; *source* must live as long as it."""
        with _errors_in_a_line():
            self._connection.register(name, source)

    @property
    def directory(self) -> Path:
        """A place for files that go with this database."""
        return self._directory

    def _execute(self, statement: str) -> Any:
        """What DuckDB answers to *statement*."""
        with _errors_in_a_line():
            return self._connection.execute(statement)


class _Piece(NamedTuple):
    """A file of rows, and the length of the longest one."""

    rows: int
    longest: int


def _piece_of(rows: Iterator[Row], path: Path) -> _Piece | None:
    """The next of *rows* as JSON lines in *path*; None where there are no more."""
    count = size = longest = 0
    with _no_room_in_a_line():
        file = path.open("wb")
    with file:
        while count < _PIECE_ROWS and size < _PIECE_BYTES:
            lines = [_line(row) for row in islice(rows, _WRITTEN_ROWS)]
            if not lines:
                break
            count += len(lines)
            with _no_room_in_a_line():
                size += file.write(b"".join(lines))
                file.flush()
            longest = max(longest, *map(len, lines))
    return _Piece(count, longest) if count else None


def _selected(path: Path, columns: Mapping[str, str], longest: int) -> str:
    """A SELECT of the rows in *path*, of which DuckDB has two of the *longest* in memory."""
    # A time that somebody has edited is no reason to refuse all calls.
    times = [name for name, kind in columns.items() if kind == "TIMESTAMPTZ"]
    cast = ", ".join(f"try_cast({name} AS TIMESTAMPTZ) AS {name}" for name in times)
    chosen = f"SELECT * REPLACE ({cast})" if cast else "SELECT *"
    types = ", ".join(
        f"{name}: '{'VARCHAR' if name in times else kind}'" for name, kind in columns.items()
    )
    return (
        f"{chosen} FROM read_json('{quoted(str(path))}', format='newline_delimited', "
        f"columns={{{types}}}, maximum_object_size={max(longest, _LEAST_OBJECT)})"
    )


def _line(row: Row) -> bytes:
    try:
        return _encode(row) + b"\n"
    except UnicodeEncodeError:
        # A lone surrogate is no UTF-8: written as its escape.
        safe = {
            name: value.encode("utf-8", "backslashreplace").decode()
            if isinstance(value, str)
            else value
            for name, value in row.items()
        }
        return _encode(safe) + b"\n"


def _of_call(call: KeptCall) -> Row:
    return dict(zip(CALLS, values_of(call), strict=True))


def _of_tool(tool: str, totals: Totals, figures: Figures) -> Row:
    open_ = figures.books.opened.get(tool, 0)
    return {
        "tool": tool,
        **counted(totals),
        "in_flight": open_,
        "kept": figures.sizes.get(tool, 0),
    }


def _of_interval(tool: str, start_s: float, length_s: float, totals: IntervalTotals) -> Row:
    return {
        "tool": tool,
        "began": timestamp(round(start_s * 1e9)),
        "seconds": length_s,
        **counted(totals),
        "own_ms": totals.own_ns / 1e6,
    }


def counted(totals: Totals) -> Row:
    """The columns `COUNTED` of *totals*."""
    histogram = [(upper_bound(index), calls) for index, calls in sorted(totals.histogram.items())]
    if totals.zero_count:
        histogram.insert(0, (0, totals.zero_count))
    return {
        "calls": totals.count,
        "errors": totals.errors,
        "aborted": totals.aborted,
        "sampled_out": totals.sampled_out,
        "total_ms": totals.sum_ns / 1e6,
        "min_ms": _in_ms(totals.min_ns),
        "p50_ms": _in_ms(totals.quantile(0.50)),
        "p95_ms": _in_ms(totals.quantile(0.95)),
        "p99_ms": _in_ms(totals.quantile(0.99)),
        "max_ms": _in_ms(totals.max_ns),
        "histogram": [{"upper_ms": upper / 1e6, "calls": calls} for upper, calls in histogram],
    }


def _in_ms(duration_ns: int | None) -> float | None:
    return None if duration_ns is None else duration_ns / 1e6


def _told_apart(names: list[str]) -> list[str]:
    """*names*, of which those that come again are numbered: objects have each once."""
    seen: dict[str, int] = {}
    found = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        found.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return found


def quoted(text: str) -> str:
    """*text* as it stands between quotes in SQL."""
    return text.replace("'", "''")


def _in_a_line(error: Exception) -> str:
    """What DuckDB says, without the query and the arrow below it."""
    said = str(error).split("\n\nLINE ", 1)[0]
    return " ".join(said.split()) or type(error).__name__
