"""
Taking over tools that are described elsewhere: each way gives what `ToolStore.put_many` takes.

A tool's name must be the one that its calls are recorded under; its id is ``tool_`` and the name,
unless the source says otherwise. Frameworks' objects are known by their attributes alone: nothing
of theirs is imported.
"""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from shmperf.errors import StoreError
from shmperf.files import translated
from shmperf.worker.wrappers import tracked_name

from .artifact import NewArtifact

__all__ = ["from_functions", "from_json_lines", "from_langchain", "from_mcp"]


def from_functions(functions: Iterable[Callable[..., Any]]) -> Iterator[NewArtifact]:
    """Functions by the names that they are tracked under: signature and docstring."""
    for function in functions:
        own_name = str(getattr(function, "__name__", type(function).__name__))
        name = tracked_name(function) or own_name
        try:
            signature = str(inspect.signature(function))
        except (TypeError, ValueError):
            signature = "(…)"
        content = f"{name}{signature}\n{inspect.getdoc(function) or ''}".strip()
        yield NewArtifact(f"tool_{name}", name, content)


def from_json_lines(path: str | os.PathLike[str]) -> Iterator[NewArtifact]:
    """
    A file with one JSON object a line: ``name``, and ``content`` or ``description``.

    ``artifact_id``, ``artifact_type``, ``metadata``, ``embedding`` and ``parameters`` (a JSON
    schema) are taken if they are there, so a store's own artifacts can be written out and read.
    Raises StoreError, which names the line.
    """
    try:
        with Path(path).open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield _from_line(line, f"{path}:{number}")
    except OSError as error:
        raise translated(error, path, StoreError) from None


def from_mcp(tools: Any) -> Iterator[NewArtifact]:
    """A ``tools/list`` result of the Model Context Protocol: object, dict, or its list of tools."""
    listed = tools
    if not isinstance(tools, list | tuple):
        listed = tools.get("tools") if isinstance(tools, Mapping) else getattr(tools, "tools", None)
    if not isinstance(listed, list | tuple):
        raise StoreError(f"found {type(tools).__name__}, expected a tools/list result")
    for tool in listed:
        name = _of(tool, "name")
        if not isinstance(name, str):
            raise StoreError(f"found a tool without a name, expected one of MCP: {str(tool)[:80]}")
        schema = _of(tool, "inputSchema") or _of(tool, "input_schema")
        content = _described(name, _of(tool, "title"), _of(tool, "description"), schema)
        yield NewArtifact(f"tool_{name}", name, content, "mcp_tool")


def from_langchain(tools: Iterable[Any]) -> Iterator[NewArtifact]:
    """LangChain's tools: ``name``, ``description`` and ``args``, the properties of a schema."""
    for tool in tools:
        name = _of(tool, "name")
        if not isinstance(name, str):
            raise StoreError(f"found {type(tool).__name__}, expected a LangChain tool with a name")
        schema = {"properties": _of(tool, "args")}
        content = _described(name, None, _of(tool, "description"), schema)
        yield NewArtifact(f"tool_{name}", name, content, "langchain_tool")


def _from_line(line: bytes, where: str) -> NewArtifact:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise StoreError(f"{where}: {error}") from None
    if not isinstance(fields, dict) or not isinstance(fields.get("name"), str):
        raise StoreError(f"{where}: found no name, expected a JSON object with one")
    name = fields["name"]
    content = fields.get("content")
    if content is None:
        content = _described(name, None, fields.get("description"), fields.get("parameters"))
    metadata = fields.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise StoreError(f"{where}: metadata: found {type(metadata).__name__}, expected an object")
    return NewArtifact(
        fields.get("artifact_id", f"tool_{name}"),
        name,
        content,
        fields.get("artifact_type", "function"),
        metadata,
        fields.get("embedding"),
    )


def _described(name: str, title: Any, description: Any, schema: Any) -> str:
    """One text of what a tool is called, does and takes."""
    head = f"{name} ({title})" if isinstance(title, str) and title else name
    lines = [f"{head}: {str(description or '').strip()}"]
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if isinstance(properties, Mapping):
        for parameter, about in properties.items():
            said = about.get("description") if isinstance(about, Mapping) else None
            lines.append(f"{parameter}: {said}" if said else str(parameter))
    return "\n".join(lines)


def _of(tool: Any, key: str) -> Any:
    return tool.get(key) if isinstance(tool, Mapping) else getattr(tool, key, None)
