"""Which kinds of store there are, by the name that ``rag.store`` gives them."""

from __future__ import annotations

from collections.abc import Callable

from shmperf.errors import StoreError

from . import chroma, lancedb, pgvector, qdrant
from .protocol import PerfStore
from .toolstore import ToolStore

__all__ = ["KINDS", "open_store"]


def _open_tools(url: str) -> PerfStore:
    return ToolStore(url or None, create=False)


KINDS: dict[str, Callable[[str], PerfStore]] = {
    "tools": _open_tools,
    "chroma": chroma.open_store,
    "qdrant": qdrant.open_store,
    "pgvector": pgvector.open_store,
    "lancedb": lancedb.open_store,
}


def open_store(kind: str, url: str) -> PerfStore:
    """
    The store of that *kind* at *url*, to update and read summaries; its package is imported now.

    ``tools`` is the one in a file of our own: *url* is its path, or empty for the one in the
    storage directory. StoreError when the kind is unknown, or store or package are not there.
    """
    if kind not in KINDS:
        raise StoreError(f"found the store {kind!r}, expected one of {', '.join(KINDS)}")
    return KINDS[kind](url)
