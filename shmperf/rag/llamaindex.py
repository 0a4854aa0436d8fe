"""LlamaIndex: a node post-processor that puts retrieved tools in the order to choose them in."""

from __future__ import annotations

from typing import Any

from .delivery import load_package
from .live import LiveStatistics
from .ranking import rank

__all__ = ["node_postprocessor"]


def node_postprocessor(*, name_key: str = "name", top_n: int | None = None, **options: Any) -> Any:
    """
    For ``as_query_engine(node_postprocessors=[…])`` and retrievers; *options* are those of `rank`.

    A node is a tool whose name stands in its metadata under *name_key*, and its summary, where
    the store keeps it there, under ``perf_summary``. A node's new score is the tool's.
    StoreError says which command installs the framework.
    """
    types: Any = load_package("llama_index.core.postprocessor.types", "llamaindex")
    schema: Any = load_package("llama_index.core.schema", "llamaindex")
    options.setdefault("live", LiveStatistics())
    rank([], **options)

    class ShmperfPostprocessor(types.BaseNodePostprocessor):  # type: ignore[misc]  # a class of the framework, untyped here
        def _postprocess_nodes(self, nodes: list[Any], query_bundle: Any = None) -> list[Any]:  # noqa: ARG002  the framework's signature
            candidates = [
                (
                    {"name": node.node.metadata.get(name_key), "metadata": node.node.metadata}
                    | {"node": node},
                    node.score,
                )
                for node in nodes
            ]
            return [
                schema.NodeWithScore(node=one.artifact["node"].node, score=one.score)
                for one in rank(candidates, **options)[:top_n]
                if one.artifact is not None
            ]

    return ShmperfPostprocessor()
