"""
Summaries in a Qdrant collection: ``metadata.perf_summary`` in each point's payload.

    http://host:6333?collection=tools       (https too; the key from QDRANT_API_KEY)
    path/to/directory?collection=tools      (the client's local mode: this process alone)

A point's name is ``payload["name"]``; ``&name_key=metadata.name&perf_key=…`` say otherwise.
An index on the name (``create_payload_index("tools", "name", "keyword")``) spares the server a
scan. Two requests a batch, and no vector in either: which points have these names, then one
``set_payload`` for each name, which Qdrant merges at the key. They address points by a filter on
ids: unlike a list of ids it does not fail for one that has been deleted meanwhile.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .delivery import (
    TIMEOUT_S,
    Address,
    Batched,
    Summary,
    as_summary,
    inode,
    load_package,
    parse_url,
    require_store,
)
from .protocol import PerfStore

__all__ = ["QdrantStore", "open_store"]


def open_store(url: str) -> PerfStore:
    """The collection's summaries; StoreError when it or the package is not there."""
    return QdrantStore(parse_url(url, "collection", ("name_key", "perf_key")))


class QdrantStore(Batched):
    """One collection, on a server or in the client's local mode."""

    def __init__(self, address: Address) -> None:
        options = address.options
        self._name_collection = options["collection"]
        self._name_key = options.get("name_key", "name").split(".")
        self._perf_key = options.get("perf_key", "metadata.perf_summary").split(".")
        self._client: Any = None
        self._models: Any = None
        self._inode: tuple[int, int] | None = None
        super().__init__(address.place)

    @property
    def _is_remote(self) -> bool:
        return self._place.startswith(("http://", "https://"))

    @property
    def _file(self) -> Path:
        return Path(self._place, "collection", self._name_collection, "storage.sqlite")

    def _open(self) -> None:
        package = load_package("qdrant_client", "qdrant")
        self._models = package.models
        if self._is_remote:
            self._client = package.QdrantClient(
                url=self._place,
                timeout=int(TIMEOUT_S),
                api_key=os.environ.get("QDRANT_API_KEY"),
                check_compatibility=False,
            )
        else:
            self._inode = inode(self._file)
            self._check()
            self._client = package.QdrantClient(path=self._place)
        require_store(
            self._place,
            self._client.collection_exists(self._name_collection),
            f"there is no Qdrant collection {self._name_collection!r}",
        )

    def _check(self) -> None:
        if not self._is_remote:
            # Local mode would go on in memory, and found a store where there is none.
            there = self._inode is not None and inode(self._file) == self._inode
            require_store(self._place, there, "the Qdrant collection is not there, or another")

    def _release(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _merge(self, batch: Mapping[str, Summary]) -> set[str]:
        models = self._models
        ids: dict[str, list[Any]] = {}
        for point, name, payload in self._points(list(batch), self._perf_key[:1]):
            if self._can_hold(payload):
                ids.setdefault(name, []).append(point)
        if ids:
            self._client.batch_update_points(
                self._name_collection,
                [
                    models.SetPayloadOperation(
                        set_payload=models.SetPayload(
                            payload=batch[name],
                            key=".".join(self._perf_key),
                            filter=models.Filter(must=[models.HasIdCondition(has_id=points)]),
                        )
                    )
                    for name, points in ids.items()
                ],
            )
        return set(ids)

    def _can_hold(self, payload: Any) -> bool:
        """Whether nothing of the user's is in the way: Qdrant would replace it."""
        for key in self._perf_key:
            payload = payload.get(key)
            if payload is None:
                return True
            if not isinstance(payload, dict):
                return False
        return True

    def _read(self, names: list[str]) -> list[tuple[str, Summary]]:
        points = self._points(names, [".".join(self._perf_key)])
        return [(name, as_summary(_at(payload, self._perf_key))) for _, name, payload in points]

    def _points(self, names: list[str], keys: list[str]) -> list[tuple[Any, str, Any]]:
        """Id, name and *keys* of the payload of the points that have one of these names."""
        models = self._models
        name_key = ".".join(self._name_key)
        condition = models.FieldCondition(key=name_key, match=models.MatchAny(any=names))
        found: list[tuple[Any, str, Any]] = []
        offset = None
        while True:
            records, offset = self._client.scroll(
                self._name_collection,
                scroll_filter=models.Filter(must=[condition]),
                limit=2 * self.batch_size,
                offset=offset,
                with_payload=[name_key, *keys],
                with_vectors=False,
            )
            for record in records:
                name = _at(record.payload, self._name_key)
                if isinstance(name, str):
                    found.append((record.id, name, record.payload))
            if offset is None:
                return found


def _at(payload: Any, keys: list[str]) -> Any:
    for key in keys:
        payload = payload.get(key) if isinstance(payload, dict) else None
    return payload
