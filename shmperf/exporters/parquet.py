"""
Kept calls as a Parquet file, compressed with zstd: the columns of the table ``calls``.

The schema is stable: a column is added at the end or not at all. Its version and the units stand in
the file's metadata. DuckDB writes the file, row group by row group, into a directory of ours; from
there it is read in pieces.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from shmperf.storage.kept import KeptCall

from .database import opened

__all__ = ["export"]

_CHUNK_BYTES = 1 << 20
_METADATA = {
    "shmperf.schema": "1",
    "shmperf.unit.ms": "milliseconds",
    "shmperf.unit.timestamp": "start of the call, UTC, microseconds",
    "shmperf.format.params": "JSON, perhaps cut",
}


def export(calls: Iterable[KeptCall]) -> Iterator[bytes]:
    """The file; StoreError where there is no DuckDB, or no room for it."""
    with (
        opened() as database,
        database.written(calls, "parquet", "COMPRESSION zstd", _METADATA) as path,
        path.open("rb") as file,
    ):
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk
