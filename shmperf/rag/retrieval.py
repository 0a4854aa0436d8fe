"""From a query in words to the ranked tools of a tool store: what ``shmperf rank`` shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from shmperf.config.options import Options
from shmperf.errors import ShmperfError, StoreError
from shmperf.session.session import Session

from .live import LiveStatistics
from .ranking import Ranked, Weighed, rank
from .sink import load_embedder, target_of
from .toolstore import ToolStore
from .utility import Weighing

__all__ = ["Question", "RankedTool", "retrieve"]


class Question(msgspec.Struct, frozen=True):
    """What is to be done, how many candidates are looked at, and how they are weighed."""

    query: str
    k: int
    weighing: dict[str, Any] = {}


class RankedTool(Weighed, frozen=True, kw_only=True):
    """A tool with what it was ranked by. Its artifact, which may be long, is in the store."""

    artifact_id: str | None


def retrieve(
    question: Question,
    store: str | None,
    storage: Path,
    options: Options,
    session: Session | None,
) -> list[RankedTool]:
    """
    The candidates, best first; *store* is a path, or None for the storage's own.

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
    return [_without_artifact(one) for one in rank(candidates, weighing=weighing, live=live)]


def _without_artifact(one: Ranked) -> RankedTool:
    fields = {name: getattr(one, name) for name in Weighed.__struct_fields__}
    return RankedTool(**fields, artifact_id=one.artifact["artifact_id"] if one.artifact else None)


def _path_of(storage: Path, options: Options) -> Path:
    target = target_of(options.rag, storage)
    if target.kind != "tools":
        raise StoreError(
            f"rag.store is {target.kind}, which is searched in its own way: give the matches to"
            " shmperf.rag.rank, or name a tool store with --store FILE"
        )
    return Path(target.url)
