"""
Summaries in a Postgres table with vectors: a ``perf_summary jsonb`` column beside them.

    postgresql://user@host:5432/database?table=tools        (or schema.tools)

All but ``table`` is libpq's: other parameters, a service, PG* variables, a password file. The
table needs the columns ``name text`` and ``perf_summary jsonb``; the adapter changes no schema:

    ALTER TABLE tools ADD COLUMN perf_summary jsonb;

Leave that column without an index, and the table some room in its pages (``fillfactor = 80``):
then an update stays in its page and touches no index, the vectors' one included.

One request a batch. It locks its rows in the order of their names, so that two writers wait for
each other instead of ending in a deadlock.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .delivery import (
    TIMEOUT_S,
    Batched,
    Summary,
    as_summary,
    load_package,
    require_store,
    take_option,
)
from .protocol import PerfStore

__all__ = ["PgvectorStore", "open_store"]

# What another writer has committed while this one waited is seen: a row's newest version is
# read again once its lock is granted.
MERGE = """
WITH incoming AS (
    SELECT * FROM unnest(%s::text[], %s::jsonb[]) AS one(name, summary)
), locked AS (
    SELECT artifact.name FROM {table} AS artifact JOIN incoming USING (name)
    ORDER BY artifact.name FOR NO KEY UPDATE OF artifact
)
UPDATE {table} AS artifact
SET perf_summary = jsonb_strip_nulls(
    CASE WHEN jsonb_typeof(artifact.perf_summary) = 'object'
         THEN artifact.perf_summary ELSE '{{}}' END || incoming.summary)
FROM incoming
WHERE artifact.name = incoming.name AND (SELECT count(*) FROM locked) > 0
RETURNING artifact.name
"""
READ = "SELECT name, perf_summary FROM {table} WHERE name = ANY(%s)"
LOOK = "SELECT name, perf_summary FROM {table} LIMIT 0"
LIMIT = "SELECT set_config('statement_timeout', %s, false), set_config('lock_timeout', %s, false)"


def open_store(url: str) -> PerfStore:
    """The table's summaries; StoreError when it, a column or the package is not there."""
    return PgvectorStore(*take_option(url, "table"))


class PgvectorStore(Batched):
    """One table of one database, by one connection."""

    batch_size = 1000

    def __init__(self, database: str, table: str) -> None:
        self._database = database
        self._table = table
        self._connection: Any = None
        self._psycopg: Any = None
        super().__init__(database)

    def _open(self) -> None:
        self._psycopg = load_package("psycopg", "pgvector")
        self._connection = self._psycopg.connect(
            self._database,
            autocommit=True,
            connect_timeout=int(TIMEOUT_S),
            # A pooler between here and the server may know no prepared statements.
            prepare_threshold=None,
            tcp_user_timeout=int(TIMEOUT_S * 1000),
        )
        milliseconds = str(int(TIMEOUT_S * 1000))
        self._connection.execute(LIMIT, (milliseconds, milliseconds))
        columns = self._execute(LOOK).description
        jsonb = self._psycopg.adapters.types["jsonb"].oid
        require_store(
            self._database,
            columns[1].type_code == jsonb,
            f"perf_summary of {self._table} is not jsonb",
        )

    def _check(self) -> None:
        """Nothing: a connection that has broken fails in the next request."""

    def _release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _execute(self, query: str, *parameters: Any) -> Any:
        sql = self._psycopg.sql
        table = sql.Identifier(*self._table.split("."))
        return self._connection.execute(sql.SQL(query).format(table=table), parameters or None)

    def _merge(self, batch: Mapping[str, Summary]) -> set[str]:
        summaries = [json.dumps(summary, allow_nan=False) for summary in batch.values()]
        return {name for (name,) in self._execute(MERGE, list(batch), summaries)}

    def _read(self, names: list[str]) -> list[tuple[str, Summary]]:
        return [(name, as_summary(found)) for name, found in self._execute(READ, names)]
