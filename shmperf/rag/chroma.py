"""
Summaries in a Chroma collection: flat ``perf_*`` keys in each record's metadata.

    path/to/directory?collection=tools
    http://host:8000?collection=tools       (https too; &tenant=…&database=…)

A record's name is ``metadata["name"]``, or its id where the metadata names none. The directory
form is for a store that no other process has open: a second one may block Chroma for as long as
the first holds the lock, so a lock that is held is told as an error first. Where several
processes use the store, run Chroma's server.

Two requests a batch: which records have these names, then their new metadata. Chroma merges
metadata itself, and leaves documents and embeddings alone when none are given; the collection is
opened without an embedding function, so that there is none to call.
"""

from __future__ import annotations

import contextlib
import sqlite3
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .delivery import (
    TIMEOUT_S,
    Address,
    Batched,
    Summary,
    inode,
    load_package,
    parse_url,
    require_store,
)
from .protocol import PerfStore

__all__ = ["ChromaStore", "open_store"]

PREFIX = "perf_"


def open_store(url: str) -> PerfStore:
    """The collection's summaries; StoreError when it or the package is not there."""
    return ChromaStore(parse_url(url, "collection", ("tenant", "database")))


class ChromaStore(Batched):
    """One collection, by its server or in its directory."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._client: Any = None
        self._collection: Any = None
        self._inode: tuple[int, int] | None = None
        super().__init__(address.place)

    @property
    def _is_remote(self) -> bool:
        return self._place.startswith(("http://", "https://"))

    @property
    def _file(self) -> Path:
        return Path(self._place, "chroma.sqlite3")

    def _open(self) -> None:
        chromadb = load_package("chromadb", "chroma")
        self._client = self._connect(chromadb)
        self._collection = self._client.get_collection(
            self._address.options["collection"], embedding_function=None
        )

    def _connect(self, chromadb: Any) -> Any:
        # Chroma reports its use to its makers unless told not to.
        settings = chromadb.config.Settings(anonymized_telemetry=False)
        options = self._address.options
        names = {key: options[key] for key in ("tenant", "database") if key in options}
        if not self._is_remote:
            require_store(self._place, self._file.exists(), "there is no Chroma store")
            self._inode = inode(self._file)
            self._check()
            return chromadb.PersistentClient(self._place, settings=settings, **names)
        parts = urlsplit(self._place)
        secure = parts.scheme == "https"
        # The client waits for ever while it connects; this does not.
        with urllib.request.urlopen(  # noqa: S310 - the scheme has been looked at
            f"{self._place.rstrip('/')}/api/v2/heartbeat", timeout=TIMEOUT_S
        ):
            pass
        client = chromadb.HttpClient(
            host=parts.hostname,
            port=parts.port or (443 if secure else 8000),
            ssl=secure,
            settings=settings,
            **names,
        )
        # Nor has it a setting for a timeout later on.
        for session in _sessions(client):
            session.timeout = TIMEOUT_S
        return client

    def _check(self) -> None:
        if self._is_remote:
            return
        require_store(
            self._place, inode(self._file) == self._inode, "the Chroma store is gone or another"
        )
        # Chroma itself would wait without end, and keep every thread of the process waiting.
        with contextlib.closing(
            sqlite3.connect(
                f"{self._file.absolute().as_uri()}?mode=rw", uri=True, timeout=TIMEOUT_S
            )
        ) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.rollback()

    def _release(self) -> None:
        client, self._client, self._collection = self._client, None, None
        if client is not None:
            client.close()
            for session in _sessions(client):
                session.close()

    def _merge(self, batch: Mapping[str, Summary]) -> set[str]:
        records = self._records(list(batch))
        if records:
            self._collection.update(
                ids=list(records),
                metadatas=[
                    {PREFIX + key: value for key, value in batch[name].items()}
                    for name, _ in records.values()
                ],
            )
        return {name for name, _ in records.values()}

    def _read(self, names: list[str]) -> list[tuple[str, Summary]]:
        return [
            (
                name,
                {
                    key.removeprefix(PREFIX): value
                    for key, value in metadata.items()
                    if key.startswith(PREFIX)
                },
            )
            for name, metadata in self._records(names).values()
        ]

    def _records(self, names: list[str]) -> dict[str, tuple[str, dict[str, Any]]]:
        """Id to name and metadata of the records that have one of these names."""
        named = self._collection.get(where={"name": {"$in": names}}, include=["metadatas"])
        found = {
            one: (metadata["name"], metadata)
            for one, metadata in zip(named["ids"], named["metadatas"], strict=True)
        }
        rest = sorted({name for name in names if name} - {name for name, _ in found.values()})
        if rest:
            bare = self._collection.get(ids=rest, include=["metadatas"])
            for one, metadata in zip(bare["ids"], bare["metadatas"], strict=True):
                if "name" not in (metadata or {}):
                    found[one] = (one, metadata or {})
        return found


def _sessions(client: Any) -> list[Any]:
    """The connections of a client of the server: it neither bounds nor closes them itself."""
    owners = (client, getattr(client, "_admin_client", None))
    sessions = (getattr(getattr(one, "_server", None), "_session", None) for one in owners)
    return [session for session in sessions if session is not None]
