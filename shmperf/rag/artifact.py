"""
A tool's artifact: what one is made of, how it and its embedding are stored, and what is refused.

    {"artifact_id", "artifact_type", "name", "content", "metadata": {…, "perf_summary": {…}}}

An embedding is float32, little-endian, with a CRC-32 of its bytes beside it.
"""

from __future__ import annotations

import json
import math
import sys
import zlib
from array import array
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from shmperf.errors import StoreError

from .delivery import admit, as_summary

__all__ = [
    "Artifact",
    "NewArtifact",
    "Vector",
    "as_artifact",
    "as_blob",
    "check",
    "columns_of",
    "is_text",
    "is_whole",
    "parse",
    "require_text",
]

Artifact = dict[str, Any]


class NewArtifact(NamedTuple):
    """What `ToolStore.put_many` takes: an artifact that need not be there yet."""

    artifact_id: str
    name: str
    content: str
    artifact_type: str = "function"
    metadata: Mapping[str, Any] | None = None
    embedding: Sequence[float] | None = None


class Vector(NamedTuple):
    """An embedding as it is stored, with the sentence about performance that it was made with."""

    blob: bytes
    model: str
    told: str | None


def as_artifact(columns: Sequence[Any]) -> Artifact:
    _, id_, type_, name, content, metadata, summary = columns
    parsed = parse(metadata)
    if summary is not None:
        parsed["perf_summary"] = parse(summary)
    return {
        "artifact_id": id_,
        "artifact_type": type_,
        "name": name,
        "content": content,
        "metadata": parsed,
    }


def parse(text: str) -> dict[str, Any]:
    try:
        metadata = json.loads(text)
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict):
        raise StoreError(f"the tool store is damaged: found {text[:40]!r}, expected a JSON object")
    return metadata


def check(new: NewArtifact) -> dict[str, Any]:
    """The columns of an artifact, and the summary that came in its metadata; or StoreError."""
    metadata = {} if new.metadata is None else dict(new.metadata)
    summary = metadata.pop("perf_summary", None)
    if summary is not None and (
        not isinstance(summary, Mapping) or not admit({"": summary}).summaries
    ):
        raise StoreError(f"{new.artifact_id!r}: found a perf_summary that can't be stored")
    try:
        text = json.dumps(metadata, allow_nan=False)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(f"{new.artifact_id!r}: metadata is no JSON: {error}") from None
    return {
        "id": require_text("artifact_id", new.artifact_id),
        "type": require_text("artifact_type", new.artifact_type),
        "name": require_text("name", new.name),
        "content": require_text("content", new.content),
        "metadata": text,
        "summary": None if summary is None else as_summary(dict(summary)),
    }


def require_text(what: str, value: object) -> str:
    if not isinstance(value, str):
        raise StoreError(f"{what}: found {type(value).__name__}, expected text")
    if not is_text(value):
        raise StoreError(f"{what}: found a zero byte or half a surrogate pair, expected text")
    return value


def is_text(value: str) -> bool:
    return admit({value: {}}).unnameable == 0


def columns_of(vector: Vector | None) -> dict[str, Any]:
    if vector is None:
        return {"embedding": None, "model": None, "checksum": None, "told": None}
    checksum = zlib.crc32(vector.blob)
    return vector._asdict() | {"embedding": vector.blob, "checksum": checksum}


def as_blob(vector: Iterable[float]) -> bytes:
    """*vector* as float32, little-endian; StoreError unless it is finite numbers, one or more."""
    try:
        numbers = array("f", vector)
    except (TypeError, OverflowError, ValueError) as error:
        raise StoreError(f"found an embedding that is no list of numbers: {error}") from None
    if not numbers or not all(map(math.isfinite, numbers)):
        what = "a NaN or an infinity in an embedding" if numbers else "an empty embedding"
        raise StoreError(f"found {what}, expected finite numbers")
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def is_whole(blob: object, checksum: object, dimension: int) -> bool:
    """True when what a store gave is the embedding that was written there."""
    if not isinstance(blob, bytes) or len(blob) != 4 * dimension:
        return False
    return zlib.crc32(blob) == checksum
