"""
Finding artifacts in a tool store: by the nearest vectors, and by words.

Both return scores by row number, best first. Vectors: a matrix of unit vectors is kept in memory
for as long as the store's ``revision`` stays; unlike SQLite's own ``data_version`` it does not move
when performance does. Words: FTS5's bm25 divided by the most that the query could score, the sum
of its words' inverse document frequencies times k1 + 1 (https://www.sqlite.org/fts5.html, section
5.1.1), so that it lies between 0 and 1, and a word that no tool has lowers it.
"""

from __future__ import annotations

import math
import re
import sqlite3
from typing import Any

from shmperf.errors import StoreError

from .artifact import is_whole
from .delivery import load_package
from .toolfile import fact

__all__ = ["VectorIndex", "matching"]

# Words of a query that count; FTS5's k1 + 1: the most that a word's frequency can weigh.
_MOST_WORDS = 32
_MOST_TF = 2.2
_WORDS = re.compile(r"[^\W_]+")
# It has one of the words, if only one that every tool has.
_LEAST = 1e-9


class VectorIndex:
    """All embeddings as one matrix; one thread at a time. ``damaged`` ones are left out."""

    def __init__(self) -> None:
        self.damaged = 0
        self._revision: tuple[str, int] | None = None
        self._units: Any = None
        self._rows: list[int] = []

    def clear(self) -> None:
        """Give the memory back."""
        self._revision, self._units, self._rows = None, None, []

    def nearest(self, connection: sqlite3.Connection, blob: bytes, k: int) -> dict[int, float]:
        """The *k* rows with the greatest cosine; StoreError for another dimension."""
        numpy: Any = load_package("numpy", "rag")
        self._update(connection, numpy)
        wanted = numpy.frombuffer(blob, dtype="<f4")
        if not self._rows:
            return {}
        dimension = self._units.shape[1]
        if len(wanted) != dimension:
            raise StoreError(f"found a vector of {len(wanted)} dimensions, expected {dimension}")
        # A vector that is too long to be measured in float32 has a direction all the same.
        wanted = wanted / (numpy.abs(wanted).max() or 1)
        length = float(numpy.linalg.norm(wanted))
        similarities = self._units @ (wanted / length if length else wanted)
        count = min(k, len(self._rows))
        best = numpy.argpartition(-similarities, count - 1)[:count]
        # Equal ones in the order in which they were added.
        best = sorted(best.tolist(), key=lambda place: (-similarities[place], place))
        return {self._rows[place]: float(similarities[place]) for place in best}

    def _update(self, connection: sqlite3.Connection, numpy: Any) -> None:
        # Another file may have come to the same number.
        revision = (fact(connection, "store"), fact(connection, "revision"))
        if revision == self._revision:
            return
        self.clear()
        dimension = fact(connection, "dimension") or 0
        blobs: list[bytes] = []
        self.damaged = 0
        for row, blob, checksum in connection.execute(
            "SELECT row, embedding, checksum FROM artifact WHERE embedding IS NOT NULL ORDER BY row"
        ):
            if is_whole(blob, checksum, dimension):
                self._rows.append(row)
                blobs.append(blob)
            else:
                self.damaged += 1
        vectors = numpy.frombuffer(b"".join(blobs), dtype="<f4").reshape(len(blobs), dimension)
        self._units = _units(numpy, vectors)
        self._revision = revision


def _units(numpy: Any, vectors: Any) -> Any:
    """Vectors of length one; a zero vector is like none."""
    if not vectors.size:
        return vectors
    greatest = numpy.abs(vectors).max(axis=1, keepdims=True)
    scaled = vectors / numpy.where(greatest > 0, greatest, 1)
    lengths = numpy.linalg.norm(scaled, axis=1, keepdims=True)
    return scaled / numpy.where(lengths > 0, lengths, 1)


def matching(connection: sqlite3.Connection, query: str, k: int) -> dict[int, float]:
    """The *k* rows that have most of the words of *query*, the rarest counting most."""
    words = list(dict.fromkeys(_WORDS.findall(query.lower())))[:_MOST_WORDS]
    if not words:
        return {}
    found = connection.execute(
        "SELECT rowid, bm25(artifact_text) FROM artifact_text WHERE artifact_text MATCH ?"
        " ORDER BY rank LIMIT ?",
        (" OR ".join(f'"{word}"' for word in words), k),
    ).fetchall()
    most = _most(connection, words) if found else 1.0
    return {row: min(1.0, max(-score / most, _LEAST)) for row, score in found}


def _most(connection: sqlite3.Connection, words: list[str]) -> float:
    """What bm25 can't exceed: every word endlessly often."""
    (count,) = connection.execute("SELECT count(*) FROM artifact").fetchone()
    most = 0.0
    for word in words:
        (having,) = connection.execute(
            "SELECT count(*) FROM artifact_text WHERE artifact_text MATCH ?", (f'"{word}"',)
        ).fetchone()
        rarity = math.log((count - having + 0.5) / (having + 0.5))
        most += _MOST_TF * max(rarity, 1e-6)
    return most
