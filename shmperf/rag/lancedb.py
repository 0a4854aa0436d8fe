"""
Summaries in a LanceDB table: JSON text in a ``perf_summary`` column.

    path/to/database?table=tools        (or a URI that LanceDB knows, such as s3://bucket/path)

The table needs the columns ``name`` and ``perf_summary``, both strings; the adapter changes no
schema:

    table.add_columns({"perf_summary": "CAST(NULL AS STRING)"})

Two requests a batch: the summaries there, then a merge of the one changed column. LanceDB copies
the changed rows, vectors bit for bit, and until the table is optimized it searches those rows
without their index. Two writers that change the same artifact at once: the later one counts,
whole.

Every batch makes a version of the table. Each TIDY_AFTER of them the adapter has LanceDB join its
files, index what it copied, and forget versions older than an hour (``&keep_s=…`` says otherwise).
A tagged version is never forgotten; with one that is older LanceDB forgets none, which is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from shmperf.errors import StoreError, tell

from .delivery import (
    TIMEOUT_S,
    Address,
    Batched,
    Summary,
    as_summary,
    load_package,
    parse_url,
    require_store,
)
from .protocol import PerfStore

__all__ = ["LanceStore", "open_store"]

TIDY_AFTER = 500
KEEP_S = 3600.0
# Nothing is as old as this: join and index only.
EVER = timedelta(days=36500)


def open_store(url: str) -> PerfStore:
    """The table's summaries; StoreError when it, a column or the package is not there."""
    return LanceStore(parse_url(url, "table", ("keep_s",)))


class LanceStore(Batched):
    """One table of one database."""

    batch_size = 500

    def __init__(self, address: Address) -> None:
        self._name_table = address.options["table"]
        self._keep = _seconds(address)
        self._arrow: Any = None
        self._table: Any = None
        self._written = 0
        super().__init__(address.place)

    def _open(self) -> None:
        lancedb = load_package("lancedb", "lancedb")
        if "://" not in self._place:
            # LanceDB would make the directory.
            there = Path(self._place, f"{self._name_table}.lance").exists()
            require_store(self._place, there, f"there is no LanceDB table {self._name_table!r}")
        self._arrow = load_package("pyarrow", "lancedb")
        # Zero: another process's newest version is the one that counts.
        database = lancedb.connect(self._place, read_consistency_interval=timedelta(0))
        self._table = database.open_table(self._name_table)
        texts = {self._arrow.string(), self._arrow.large_string()}
        for column in ("name", "perf_summary"):
            index = self._table.schema.get_field_index(column)
            require_store(
                self._place,
                index >= 0 and self._table.schema.field(index).type in texts,
                f"{self._name_table} has no column {column} of strings",
            )

    def _check(self) -> None:
        """Nothing: every request reads the table's newest version."""

    def _release(self) -> None:
        self._table = None

    def _merge(self, batch: Mapping[str, Summary]) -> set[str]:
        stored: dict[str, Summary] = {}
        for name, summary in self._read(list(batch)):
            stored[name] = summary or stored.get(name, {})
        if stored:
            self._write({name: stored[name] | batch[name] for name in stored})
        return set(stored)

    def _write(self, summaries: Mapping[str, Summary]) -> None:
        schema = self._table.schema
        columns = self._arrow.schema([schema.field("name"), schema.field("perf_summary")])
        texts = [_as_text(summary) for summary in summaries.values()]
        rows = self._arrow.table({"name": list(summaries), "perf_summary": texts}, schema=columns)
        self._table.merge_insert("name").when_matched_update_all().execute(
            rows, timeout=timedelta(seconds=TIMEOUT_S)
        )
        self._tidy()

    def _tidy(self) -> None:
        self._written += 1
        if self._written % TIDY_AFTER:
            return
        try:
            self._table.optimize(cleanup_older_than=EVER)
            self._table.optimize(cleanup_older_than=self._keep)
        except Exception as error:  # noqa: BLE001 - the summaries are stored all the same
            tell(f"{self._place}: {self._name_table} could not be tidied: {error}")

    def _read(self, names: list[str]) -> list[tuple[str, Summary]]:
        quoted = ", ".join("'" + name.replace("'", "''") + "'" for name in names)
        rows = (
            self._table.search(None)
            .where(f"name IN ({quoted})")
            .select(["name", "perf_summary"])
            .to_arrow()
            .to_pylist()
        )
        return [(row["name"], _parsed(row["perf_summary"])) for row in rows]


def _seconds(address: Address) -> timedelta:
    try:
        return timedelta(seconds=float(address.options.get("keep_s", KEEP_S)))
    except (ValueError, OverflowError):
        raise StoreError(f"{address.place}: keep_s of the store's url is no number") from None


def _as_text(summary: Summary) -> str:
    held = {key: value for key, value in summary.items() if value is not None}
    return json.dumps(held, allow_nan=False)


def _parsed(text: str | None) -> Summary:
    try:
        return as_summary(json.loads(text or "{}"))
    except ValueError:
        return {}
