"""
A public catalogue of tools with the queries that each is right for: the package ``bfcl-eval``.

The Berkeley Function-Calling Leaderboard's data (Apache-2.0): every question comes with the
functions to choose from, and the right one is known. Here all functions together are one
catalogue, and every question is asked of all of it. Only the data files are read: the package's
many dependencies are not needed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from .embedding import file_of

__all__ = ["Catalogue", "Query", "Tool", "read_catalogue"]

_FILES = ("live_multiple", "live_simple", "multiple", "simple_python")


class Tool(NamedTuple):
    """A function: its name, and what is embedded of it."""

    name: str
    content: str


class Query(NamedTuple):
    """What a user asks, and the name of the tool that is right."""

    text: str
    tool: str


class Catalogue(NamedTuple):
    """All tools, each name once, and the queries whose right tool is among them."""

    tools: list[Tool]
    queries: list[Query]


def read_catalogue() -> Catalogue:
    """The whole catalogue; SystemExit says how to install it."""
    tools: dict[str, Tool] = {}
    queries: list[Query] = []
    for name in _FILES:
        answers = {
            line["id"]: next(iter(line["ground_truth"][0]))
            for line in _lines(f"data/possible_answer/BFCL_v4_{name}.json")
        }
        for line in _lines(f"data/BFCL_v4_{name}.json"):
            for function in line["function"]:
                tools.setdefault(function["name"], Tool(function["name"], _content(function)))
            text = " ".join(
                message["content"] for message in line["question"][0] if message["role"] == "user"
            )
            queries.append(Query(text, answers[line["id"]]))
    return Catalogue(list(tools.values()), [one for one in queries if one.tool in tools])


def _content(function: dict[str, Any]) -> str:
    named = " ".join(function["name"].replace(".", " ").replace("_", " ").split())
    properties = function["parameters"].get("properties", {})
    told = " ".join(f"{name}: {one.get('description', '')}" for name, one in properties.items())
    return f"{named}: {function['description']} {told}"


def _lines(name: str) -> Iterator[dict[str, Any]]:
    with file_of("bfcl_eval", name).open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)
