"""
Pydantic AI: the order of an agent's tools, and a search for tools that are loaded when needed.

`prepare_tools` makes what the capability ``PrepareTools`` takes, `search_tools` what
``ToolSearch`` takes as its strategy. Nothing of the framework is imported: both are plain functions
over its tool definitions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .live import LiveStatistics
from .ranking import Candidate, rank
from .toolstore import ToolStore

__all__ = ["prepare_tools", "search_tools"]

# How many of a store's tools a query is compared with.
_MOST_FOUND = 50


def prepare_tools(
    store: ToolStore | None = None, *, top_n: int | None = None, **options: Any
) -> Callable[[Any, list[Any]], Awaitable[list[Any]]]:
    """
    For ``Agent(…, capabilities=[PrepareTools(prepare_tools(store))])``.

    The tools that *store* finds for the prompt come first, ranked; without a store all count as
    equally alike. *top_n* leaves only the best; *options* are those of `rank`.
    """
    ranked = _ranker(store, options)

    async def prepare(ctx: Any, tool_defs: list[Any]) -> list[Any]:
        prompt = ctx.prompt if isinstance(ctx.prompt, str) else ""
        order = ranked([prompt], [one.name for one in tool_defs])
        place = {name: number for number, name in enumerate(order)}
        found = sorted(tool_defs, key=lambda one: place.get(one.name, len(place)))
        return found[:top_n]

    return prepare


def search_tools(
    store: ToolStore, *, top_n: int = 10, **options: Any
) -> Callable[[Any, Sequence[str], Sequence[Any]], list[str]]:
    """For ``Agent(…, capabilities=[ToolSearch(strategy=search_tools(store))])``: the best few."""
    ranked = _ranker(store, options, only_found=True)

    def search(ctx: Any, queries: Sequence[str], tools: Sequence[Any]) -> list[str]:  # noqa: ARG001  the framework's signature
        return ranked(list(queries), [one.name for one in tools])[:top_n]

    return search


def _ranker(
    store: ToolStore | None, options: dict[str, Any], *, only_found: bool = False
) -> Callable[[list[str], list[str]], list[str]]:
    """From queries and names to names, the best first; what was not found comes last or not."""
    options.setdefault("live", LiveStatistics())
    rank([], **options)

    def ranked(queries: list[str], names: list[str]) -> list[str]:
        if store is None:
            return [one.name for one in rank([(name, 0.0) for name in names], **options)]
        found: dict[str, Candidate] = {}
        for query in queries:
            for artifact, similarity in store.search(query, _MOST_FOUND):
                name = artifact["name"]
                if name not in found or found[name][1] < similarity:
                    found[name] = (artifact, similarity)
        order = [
            one.name for one in rank([found[name] for name in names if name in found], **options)
        ]
        return order if only_found else order + [name for name in names if name not in found]

    return ranked
