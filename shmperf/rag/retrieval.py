"""From a query in words to the ranked tools of a tool store: what ``shmperf rank`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from shmperf.config.options import Options
from shmperf.errors import ShmperfError, StoreError
from shmperf.session.session import Session

from .live import LiveStatistics
from .ranking import rank
from .sink import load_embedder, target_of
from .toolstore import ToolStore
from .utility import Weighing

__all__ = ["Question", "retrieve"]


class Question(msgspec.Struct, frozen=True):
    """What is to be done, how many candidates are looked at, and how they are weighed."""

    query: str
    k: int
    weighing: dict[str, Any] = {}


def retrieve(
    question: Question,
    store: str | None,
    storage: Path,
    options: Options,
    session: Session | None,
) -> list[dict[str, Any]]:
    """
    The candidates, best first, as plain values; *store* is a path, or None for the storage's own.

    Text is searched for with the options' embedder, without one by its words. Facts are those of
    *session* while its collector runs. ShmperfError, one line, when there is no store.
    """
    try:
        weighing = Weighing(**question.weighing)
    except ValueError as error:
        raise ShmperfError(str(error)) from None
    path = Path(store) if store else _path_of(storage, options)
    if not path.exists():
        raise StoreError(
            f"{path}: there is no tool store yet; in Python, shmperf.rag.ToolStore(path)"
            ".put_many(shmperf.rag.from_functions([your_tool, …])) makes one"
        )
    embedder = load_embedder(options.rag.embedder) if options.rag.embedder else None
    with ToolStore(path, embedder, create=False) as tools:
        candidates = tools.search(question.query, question.k)
    live = False if session is None else LiveStatistics(session)
    ranked = rank(candidates, weighing=weighing, live=live)
    # The artifact, which may be long, is in the store.
    return [
        {key: value for key, value in msgspec.structs.asdict(one).items() if key != "artifact"}
        | {"artifact_id": one.artifact["artifact_id"] if one.artifact else None}
        for one in ranked
    ]


def _path_of(storage: Path, options: Options) -> Path:
    target = target_of(options.rag, storage)
    if target.kind != "tools":
        raise StoreError(
            f"rag.store is {target.kind}, which is searched in its own way: give the matches to"
            " shmperf.rag.rank, or name a tool store with --store FILE"
        )
    return Path(target.url)
