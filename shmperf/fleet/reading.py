"""
What was collected, as tables that can be asked in SQL: by the manifests, never by what lies there.

A reader of a directory has DuckDB read the files; of a bucket, Arrow. Both take only the columns
and row groups that a query needs. Files of an older schema have NULL in columns that came later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from shmperf.errors import StoreError
from shmperf.exporters.database import Database, opened, quoted
from shmperf.files import translated

from .datasets import COLUMNS
from .manifest import Manifest, StoredObject, manifests_in
from .objects import Bucket, Directory, Objects

__all__ = ["add_views", "opened_records"]


@contextmanager
def opened_records(
    objects: Objects, manifests: Sequence[Manifest] | None = None
) -> Iterator[Database]:
    """
    A database with the views ``calls``, ``totals``, ``alerts`` and ``others``; StoreError.

    Of *manifests*; without them of the newest that lie there.
    """
    found = manifests_in(objects) if manifests is None else manifests
    if not found:
        raise StoreError(f"{objects.place}: nothing was collected there")
    with opened([objects.root] if isinstance(objects, Directory) else []) as database:
        add_views(database, objects, found)
        yield database


def add_views(database: Database, objects: Objects, manifests: Sequence[Manifest]) -> None:
    """The views, in a database that may read what lies in a directory; see `opened`."""
    named: dict[str, list[StoredObject]] = {kind: [] for kind in COLUMNS}
    for manifest in manifests:
        for one in manifest.objects:
            named.setdefault(one.kind, []).append(one)
    for kind in COLUMNS:
        parts = [_none(kind)]
        for form in ("parquet", "jsonl"):
            names = [one.name for one in named[kind] if one.name.endswith(f".{form}")]
            if names:
                parts.append(_selected(database, objects, kind, names, form))
        database.add_view(kind, " UNION ALL BY NAME ".join(parts))


def _none(kind: str) -> str:
    """No row, but every column with its type."""
    columns = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in COLUMNS[kind].items())
    return f"(SELECT {columns} WHERE false)"


def _selected(
    database: Database, objects: Objects, kind: str, names: Sequence[str], form: str
) -> str:
    if isinstance(objects, Bucket) and form == "parquet":
        table = f"bucket_{kind}"
        database.register(table, _scanned(objects, kind, names))
        return f"(FROM {table})"
    listed = ", ".join(f"'{quoted(path)}'" for path in _local(database, objects, names))
    if form == "parquet":
        return f"(FROM read_parquet([{listed}], union_by_name=true, hive_partitioning=false))"
    times = [name for name, type_ in COLUMNS[kind].items() if type_ == "TIMESTAMPTZ"]
    types = ", ".join(
        f"{name}: '{'VARCHAR' if name in times else type_}'"
        for name, type_ in COLUMNS[kind].items()
    )
    cast = ", ".join(f"try_cast({name} AS TIMESTAMPTZ) AS {name}" for name in times)
    chosen = f"SELECT * REPLACE ({cast})" if cast else "SELECT *"
    return (
        f"({chosen} FROM read_json([{listed}], format='newline_delimited', "
        f"columns={{{types}}}, hive_partitioning=false, maximum_object_size={64 << 20}))"
    )


def _local(database: Database, objects: Objects, names: Sequence[str]) -> Iterator[str]:
    """Paths of files; those of a bucket are fetched first, for as long as the database is there."""
    for number, name in enumerate(names):
        if isinstance(objects, Directory):
            yield str(objects.root / name)
            continue
        path = database.directory / f"fetched-{number}-{name.rpartition('/')[2]}"
        try:
            path.write_bytes(objects.read(name))
        except OSError as error:
            raise translated(error, path.parent, StoreError) from None
        yield str(path)


def _scanned(bucket: Bucket, kind: str, names: Sequence[str]) -> Any:
    """Parquet files of a bucket as Arrow scans them."""
    # An extra, without types; who has opened a bucket has it.
    pa: Any = import_module("pyarrow")
    dataset: Any = import_module("pyarrow.dataset")
    types = {
        "VARCHAR": pa.string(),
        "BIGINT": pa.int64(),
        "DOUBLE": pa.float64(),
        "TIMESTAMPTZ": pa.timestamp("us", "UTC"),
        "MAP(INTEGER, BIGINT)": pa.map_(pa.int32(), pa.int64()),
    }
    schema = pa.schema([(name, types[type_]) for name, type_ in COLUMNS[kind].items()])
    paths = [bucket.path(name) for name in names]
    return dataset.dataset(
        paths, schema=schema, filesystem=bucket.filesystem, format="parquet", partitioning=None
    )
