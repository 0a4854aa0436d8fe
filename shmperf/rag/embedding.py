"""
Vectors for a tool store: making them with the user's embedder, and what may stand beside what.

All embeddings of a store are of one dimension and, as far as it is known, of one model; the first
ones decide, and a search with another model is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from shmperf.errors import StoreError

from .artifact import Vector, as_blob
from .toolfile import fact

__all__ = ["Embedder", "Embeddings", "batches"]

T = TypeVar("T")

# From texts to vectors, one each; its attribute ``name`` says which model that is.
Embedder = Callable[[list[str]], Iterable[Iterable[float]]]

# Texts that an embedder gets at once, and names in one statement.
_BATCH = 256


class Embeddings:
    """What a store at *path* embeds with; nothing without an *embedder*."""

    def __init__(self, path: Path, embedder: Embedder | None) -> None:
        self._path = path
        self._embedder = embedder

    def __bool__(self) -> bool:
        """True when there is an embedder."""
        return self._embedder is not None

    @property
    def model(self) -> str:
        """The embedder's ``name``; empty where it has none."""
        return str(getattr(self._embedder, "name", "") or "")

    def of(self, wanted: Mapping[str, tuple[str, str | None]]) -> dict[str, Vector]:
        """Vectors by id of contents, each with what its sentence about performance tells."""
        if self._embedder is None or not wanted:
            return {}
        texts = [f"{content}\n{told}" if told else content for content, told in wanted.values()]
        blobs = [blob for batch in batches(texts) for blob in self.embed(batch)]
        return {
            id_: Vector(blob, self.model, told)
            for (id_, (_, told)), blob in zip(wanted.items(), blobs, strict=True)
        }

    def embed(self, texts: list[str]) -> list[bytes]:
        """A vector's bytes for each of *texts*; StoreError when the embedder fails."""
        assert self._embedder is not None  # noqa: S101  asked by every caller
        try:
            vectors = [as_blob(vector) for vector in self._embedder(texts)]
        except StoreError:
            raise
        except Exception as error:
            # An embedder is foreign code.
            raise StoreError(f"the embedder failed: {type(error).__name__}: {error}") from error
        if len(vectors) != len(texts):
            raise StoreError(
                f"the embedder gave {len(vectors)} vectors, expected {len(texts)}: one a text"
            )
        return vectors

    def require(self, stored: str | None, model: str | None = None) -> None:
        """StoreError when *model*, or the embedder's, is not the *stored* one."""
        # An embedder without a name, or a vector without an embedder, may be of any model.
        model = self.model if model is None else model
        if model and stored and model != stored:
            raise StoreError(
                f"{self._path}: found the embedder {model!r}, expected {stored!r}, which its"
                " embeddings are from; reembed() makes them anew"
            )

    def admit(self, connection: sqlite3.Connection, vectors: Iterable[Vector]) -> None:
        """StoreError unless these can stand beside those stored; the first ones decide."""
        for vector in vectors:
            dimension, stored = fact(connection, "dimension"), fact(connection, "model")
            found = len(vector.blob) // 4
            if dimension is not None and found != dimension:
                raise StoreError(
                    f"{self._path}: found an embedding of {found} dimensions, expected {dimension}"
                )
            self.require(stored, vector.model)
            if dimension is None:
                connection.execute("INSERT INTO fact VALUES ('dimension', ?)", (found,))
            if vector.model and not stored:
                connection.execute("INSERT INTO fact VALUES ('model', ?)", (vector.model,))


def batches(several: Iterable[T]) -> Iterator[list[T]]:
    """*several* in lists that one statement, or one call of an embedder, can take."""
    everything = list(several)
    for start in range(0, len(everything), _BATCH):
        yield everything[start : start + _BATCH]
