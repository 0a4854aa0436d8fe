"""Which kinds of store there are, by the name that ``rag.store`` gives them."""

from __future__ import annotations

from collections.abc import Callable

from shmperf.config.options import STORES
from shmperf.errors import StoreError

from .chroma import open_store as open_chroma
from .lancedb import open_store as open_lancedb
from .pgvector import open_store as open_pgvector
from .protocol import PerfStore
from .qdrant import open_store as open_qdrant
from .toolstore import ToolStore

__all__ = ["KINDS", "open_store"]


def _open_tools(url: str) -> PerfStore:
    return ToolStore(url or None, create=False)


# In the order of STORES, whose names are the only ones.
_OPENERS: tuple[Callable[[str], PerfStore], ...] = (
    _open_tools,
    open_chroma,
    open_qdrant,
    open_pgvector,
    open_lancedb,
)
KINDS = dict(zip(STORES, _OPENERS, strict=True))


def open_store(kind: str, url: str) -> PerfStore:
    """
    The store of that *kind* at *url*, to update and read summaries; its package is imported now.

    ``tools`` is the one in a file of our own: *url* is its path, or empty for the one in the
    storage directory. StoreError when the kind is unknown, or store or package are not there.
    """
    if kind not in KINDS:
        raise StoreError(f"found the store {kind!r}, expected one of {', '.join(KINDS)}")
    return KINDS[kind](url)
