"""
The tool store that needs no server: artifacts, embeddings and performance in one SQLite file.

    artifact     row · id · type · name · content · metadata (JSON)
                 embedding (float32, little-endian) · model · checksum · told
    perf         name · summary (JSON) · clustered       a table of its own
    artifact_text                                        full-text index of name and content
    fact         model and dimension of the embeddings; revision of what a search depends on

Performance is joined to an artifact by its name when it is read, so that an update of it touches
neither artifact nor embedding. SQLite's write-ahead log lets any number of processes read while
one writes. A search multiplies a matrix of unit vectors that is kept in memory for as long as
``revision`` stays: unlike SQLite's own ``data_version`` that does not move when performance does.

    killed while writing    SQLite undoes the transaction when the file is opened next
    locked by another       StoreError after `timeout_s`; the next call tries again
    deleted or exchanged    StoreError; the next call opens what is there then, and founds nothing
    no store of ours, of a newer version, damaged     StoreError; nothing is written
    one embedding damaged   left out of searches, counted in ``damaged``

Text is found without any embedder by words: FTS5's bm25, divided by the most that the query could
score (each word's inverse document frequency times k1 + 1), so that it lies between 0 and 1 and a
word that no tool has lowers it. With an embedder, and for a vector, similarity is the cosine.

Why not a row's JSON for it all: an update each second would rewrite vectors. Why not sqlite-vec:
many builds of Python can't load extensions, and thousands of tools need no index.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

from shmperf.config.locate import resolve
from shmperf.errors import StoreError
from shmperf.session.paths import TOOL_STORE, named_directory, runtime_root
from shmperf.session.session import attach

from .artifact import (
    Artifact,
    NewArtifact,
    Vector,
    as_artifact,
    as_blob,
    check,
    columns_of,
    is_text,
    parse,
    require_text,
)
from .delivery import TIMEOUT_S, Summary, admit, as_summary
from .embedding import Embedder, Embeddings, batches
from .sentence import has_changed, tell_performance
from .toolfile import ToolFile, fact, found_file, reading
from .toolsearch import VectorIndex, matching

__all__ = ["Embedder", "ToolStore", "default_path"]

# Artifacts that iteration reads at once.
_PAGE = 256

_COLUMNS = "artifact.row, id, type, artifact.name, content, metadata, summary"
_FROM = "artifact LEFT JOIN perf ON perf.name = artifact.name AND clustered"
_UPSERT = """
INSERT INTO artifact (id, type, name, content, metadata, embedding, model, checksum, told)
VALUES (:id, :type, :name, :content, :metadata, :embedding, :model, :checksum, :told)
ON CONFLICT (id) DO UPDATE SET type = excluded.type, name = excluded.name,
    content = excluded.content, metadata = excluded.metadata, embedding = excluded.embedding,
    model = excluded.model, checksum = excluded.checksum, told = excluded.told
"""
_KEEP = """
INSERT INTO perf (name, summary, clustered) VALUES (?, ?, ?)
ON CONFLICT (name) DO UPDATE SET summary = excluded.summary, clustered = excluded.clustered
"""


def default_path() -> Path:
    """``tools.db`` in the storage directory of a program that is started here."""
    name = os.environ.get("SHMPERF_SESSION")
    if name:
        return attach(named_directory(runtime_root(os.environ), name)).storage / TOOL_STORE
    options, _ = resolve(None, os.environ, Path.cwd())
    return Path(os.path.normpath(Path.cwd() / options.storage.path)) / TOOL_STORE


class ToolStore:
    """
    Tools with their embeddings and performance, in a file that is founded if it is missing.

    Any thread, one at a time; any number of processes, each with a store of its own (a forked
    child opens the file again by itself). Every failure is a StoreError, and none damages the file.
    *embedder* is called with the contents that have changed, never for anything else but a query.
    ``refused`` counts summaries that were not stored, ``damaged`` embeddings that a search left
    out.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        embedder: Embedder | None = None,
        *,
        create: bool = True,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.path = Path(path) if path is not None else default_path()
        self.refused = 0
        self.damaged = 0
        self._embeddings = Embeddings(self.path, embedder)
        self._index = VectorIndex()
        if create:
            found_file(self.path)
        self._file = ToolFile(self.path, timeout_s)
        with self._file.reaching():
            pass

    # --- artifacts -------------------------------------------------------------------------------

    def put(
        self,
        artifact_id: str,
        name: str,
        content: str,
        artifact_type: str = "function",
        metadata: Mapping[str, Any] | None = None,
        embedding: Sequence[float] | None = None,
    ) -> None:
        """
        Add an artifact, or replace the one of that id.

        Unless an *embedding* is given, *content* is embedded if it has changed and there is an
        embedder; without one, changed content loses the embedding that it had.
        """
        self.put_many([NewArtifact(artifact_id, name, content, artifact_type, metadata, embedding)])

    def put_many(self, artifacts: Iterable[NewArtifact]) -> int:
        """Put all of them or, on any error, none; returns how many. Of one id the last counts."""
        news = {artifact.artifact_id: artifact for artifact in artifacts}
        rows = [check(artifact) for artifact in news.values()]
        given = {
            id_: Vector(as_blob(new.embedding), self._embeddings.model, None)
            for id_, new in news.items()
            if new.embedding is not None
        }
        with self._file.reaching() as connection:
            known = _known(connection, list(news))
        wanted = {
            row["id"]: (row["content"], known[row["id"]].told if row["id"] in known else None)
            for row in rows
            if row["id"] not in given and _is_new(row, known.get(row["id"]))
        }
        # Before anything is locked: an embedder may take its time.
        made = given | self._embeddings.of(wanted)
        with self._file.writing() as connection:
            self._embeddings.admit(connection, made.values())
            for row in rows:
                kept = known.get(row["id"])
                unchanged = kept is not None and kept.content == row["content"]
                vector = made.get(row["id"], kept.vector if kept and unchanged else None)
                connection.execute(_UPSERT, row | columns_of(vector))
                if row["summary"] is not None:
                    connection.execute(
                        "INSERT OR IGNORE INTO perf VALUES (?, ?, 1)",
                        (row["name"], json.dumps(row["summary"])),
                    )
            _sweep(connection)
            _revise(connection)
        return len(rows)

    def get(self, artifact_id: str) -> Artifact | None:
        """The artifact of that id, its performance under ``metadata.perf_summary``; or None."""
        with self._file.reaching() as connection:
            columns = connection.execute(
                f"SELECT {_COLUMNS} FROM {_FROM} WHERE id = ?",  # noqa: S608  our own constants
                (require_text("artifact_id", artifact_id),),
            ).fetchone()
        return None if columns is None else as_artifact(columns)

    def delete(self, artifact_id: str) -> bool:
        """Forget an artifact, and the performance of a name that no other has; False: unknown."""
        with self._file.writing() as connection:
            gone = connection.execute(
                "DELETE FROM artifact WHERE id = ?", (require_text("artifact_id", artifact_id),)
            ).rowcount
            if gone:
                _sweep(connection)
                _revise(connection)
        return bool(gone)

    def __contains__(self, artifact_id: object) -> bool:
        return isinstance(artifact_id, str) and self.get(artifact_id) is not None

    def __len__(self) -> int:
        with self._file.reaching() as connection:
            return int(connection.execute("SELECT count(*) FROM artifact").fetchone()[0])

    def __iter__(self) -> Iterator[Artifact]:
        """All artifacts, as they were added; what is put or deleted meanwhile may be missing."""
        last = 0
        while True:
            with self._file.reaching() as connection:
                page = connection.execute(
                    f"SELECT {_COLUMNS} FROM {_FROM}"  # noqa: S608  our own constants
                    " WHERE artifact.row > ? ORDER BY artifact.row LIMIT ?",
                    (last, _PAGE),
                ).fetchall()
            if not page:
                return
            yield from map(as_artifact, page)
            last = page[-1][0]

    # --- searching -------------------------------------------------------------------------------

    def search(self, query: str | Sequence[float], k: int = 10) -> list[tuple[Artifact, float]]:
        """
        The *k* artifacts most alike to a text or a vector, best first, with their similarity.

        Cosine, -1 to 1, for a vector, and for a text where there are an embedder and embeddings;
        else by words, above 0 to 1, and only artifacts that have one of them.
        """
        if k < 1:
            raise ValueError(f"k must be 1 or more, not {k}")
        if not isinstance(query, str):
            return self._nearest(as_blob(query), k)
        with self._file.reaching() as connection:
            has_vectors = fact(connection, "dimension") is not None
            stored = fact(connection, "model")
        if not self._embeddings or not has_vectors:
            with self._file.reaching() as connection, reading(connection):
                return _artifacts(connection, matching(connection, query, k))
        self._embeddings.require(stored)
        return self._nearest(self._embeddings.embed([query])[0], k)

    def _nearest(self, blob: bytes, k: int) -> list[tuple[Artifact, float]]:
        with self._file.reaching() as connection, reading(connection):
            scores = self._index.nearest(connection, blob, k)
            self.damaged = self._index.damaged
            return _artifacts(connection, scores)

    # --- performance -----------------------------------------------------------------------------

    def update_perf(self, summaries: Mapping[str, Mapping[str, object]]) -> int:
        """
        Merge ``metadata.perf_summary`` of the artifacts of these names; how many were not found.

        None takes a key away. What a store would spoil is left out and counted in ``refused``.
        """
        return self._merge(summaries, clustered=True)

    def keep_apart(self, summaries: Mapping[str, Mapping[str, object]]) -> None:
        """Merge summaries that no artifact is to show, of any name; `read_perf` gives them."""
        self._merge(summaries, clustered=False)

    def read_perf(self, names: Iterable[str]) -> dict[str, Summary]:
        """Stored summaries by name; names without one are left out."""
        with self._file.reaching() as connection:
            return _summaries(connection, names)

    def embed_performance(self, summaries: Mapping[str, Mapping[str, object]]) -> int:
        """
        Embed the artifacts of these names again, with a sentence about their performance.

        Only those whose sentence has materially changed; returns how many. Needs an embedder.
        """
        if not self._embeddings:
            raise StoreError(f"{self.path}: without an embedder nothing can be embedded")
        wanted: dict[str, tuple[str, str | None]] = {}
        with self._file.reaching() as connection:
            for names in batches(admit(summaries).summaries):
                marks = ", ".join("?" * len(names))
                for id_, name, content, told in connection.execute(
                    f"SELECT id, name, content, told FROM artifact WHERE name IN ({marks})",  # noqa: S608  question marks only
                    names,
                ):
                    if has_changed(told, summaries[name]):
                        wanted[id_] = (content, tell_performance(summaries[name]))
        vectors = self._embeddings.of(wanted)
        if not vectors:
            return 0
        with self._file.writing() as connection:
            self._embeddings.admit(connection, vectors.values())
            for id_, vector in vectors.items():
                # Content that has changed meanwhile was embedded by whoever changed it.
                connection.execute(
                    "UPDATE artifact SET embedding = :embedding, model = :model,"
                    " checksum = :checksum, told = :told WHERE id = :id AND content = :content",
                    columns_of(vector) | {"id": id_, "content": wanted[id_][0]},
                )
            _revise(connection)
        return len(vectors)

    def _merge(self, summaries: Mapping[str, Mapping[str, object]], *, clustered: bool) -> int:
        admission = admit(summaries)
        self.refused += admission.refused
        names = list(admission.summaries)
        if not names:
            return admission.unnameable
        with self._file.writing() as connection:
            there = _named(connection, names) if clustered else set(names)
            stored = _summaries(connection, there)
            for name in there:
                merged = stored.get(name, {}) | admission.summaries[name]
                text = json.dumps(as_summary(merged), allow_nan=False)
                connection.execute(_KEEP, (name, text, clustered))
        return admission.unnameable + len(names) - len(there)

    # --- embeddings ------------------------------------------------------------------------------

    @property
    def model(self) -> str:
        """The embedder's ``name``; empty where it has none."""
        return self._embeddings.model

    def reembed(self) -> int:
        """Embed all contents again, as after a change of the model; how many there were."""
        with self._file.reaching() as connection:
            rows = connection.execute("SELECT id, content, told FROM artifact").fetchall()
        vectors = self._embeddings.of({id_: (content, told) for id_, content, told in rows})
        with self._file.writing() as connection:
            connection.execute(
                "UPDATE artifact SET embedding = NULL, model = NULL, checksum = NULL"
            )
            connection.execute("DELETE FROM fact WHERE key IN ('model', 'dimension')")
            self._embeddings.admit(connection, vectors.values())
            for id_, vector in vectors.items():
                connection.execute(
                    "UPDATE artifact SET embedding = :embedding, model = :model,"
                    " checksum = :checksum, told = :told WHERE id = :id",
                    columns_of(vector) | {"id": id_},
                )
            _revise(connection)
        return len(vectors)

    # --- the file --------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the file; another call opens it again."""
        self._file.close()
        self._index.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Known(NamedTuple):
    """What the store has of an artifact that is put again."""

    content: str
    vector: Vector | None
    told: str | None


def _artifacts(
    connection: sqlite3.Connection, scores: Mapping[int, float]
) -> list[tuple[Artifact, float]]:
    """The artifacts of these rows, in the order of *scores*."""
    by_row: dict[int, Artifact] = {}
    for rows in batches(scores):
        marks = ", ".join("?" * len(rows))
        for columns in connection.execute(
            f"SELECT {_COLUMNS} FROM {_FROM} WHERE artifact.row IN ({marks})",  # noqa: S608  question marks only
            rows,
        ):
            by_row[columns[0]] = as_artifact(columns)
    return [(by_row[row], score) for row, score in scores.items()]


def _known(connection: sqlite3.Connection, ids: list[str]) -> dict[str, _Known]:
    by_id: dict[str, _Known] = {}
    for some in batches(ids):
        marks = ", ".join("?" * len(some))
        for id_, content, blob, model, told in connection.execute(
            f"SELECT id, content, embedding, model, told FROM artifact WHERE id IN ({marks})",  # noqa: S608  question marks only
            some,
        ):
            vector = None if blob is None else Vector(blob, model or "", told)
            by_id[id_] = _Known(content, vector, told)
    return by_id


def _sweep(connection: sqlite3.Connection) -> None:
    """Forget the performance of names that no artifact has any more."""
    connection.execute(
        "DELETE FROM perf WHERE clustered AND name NOT IN (SELECT name FROM artifact)"
    )
    connection.execute(
        "DELETE FROM fact WHERE key IN ('model', 'dimension')"
        " AND NOT EXISTS (SELECT 1 FROM artifact WHERE embedding IS NOT NULL)"
    )


def _is_new(row: Mapping[str, Any], known: _Known | None) -> bool:
    """True when no embedding of this content is stored."""
    return known is None or known.vector is None or known.content != row["content"]


def _revise(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE fact SET value = value + 1 WHERE key = 'revision'")


def _named(connection: sqlite3.Connection, names: Iterable[str]) -> set[str]:
    """Those of *names* that an artifact has."""
    known: set[str] = set()
    for some in batches(names):
        marks = ", ".join("?" * len(some))
        query = f"SELECT DISTINCT name FROM artifact WHERE name IN ({marks})"  # noqa: S608  question marks only
        known.update(name for (name,) in connection.execute(query, some))
    return known


def _summaries(connection: sqlite3.Connection, names: Iterable[str]) -> dict[str, Summary]:
    by_name: dict[str, Summary] = {}
    for some in batches(name for name in names if is_text(name)):
        marks = ", ".join("?" * len(some))
        query = f"SELECT name, summary FROM perf WHERE name IN ({marks})"  # noqa: S608  question marks only
        by_name |= {name: parse(text) for name, text in connection.execute(query, some)}
    return by_name
