"""
Every option once: its type, bounds, default and one sentence about it.

The YAML file, its errors and `shmperf config` are made from these structs, and a session's settings
travel to its workers as their msgpack. Workers import this module, so it imports no YAML.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

__all__ = ["Capture", "Collector", "Optimization", "Options", "Rag", "Ring", "Storage"]

_SECRETS = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "authorization",
    "cookie",
    "credential",
    "session_id",
)

Limit = Annotated[int, Meta(ge=-1, le=1_000_000_000)]


class _Group(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=False
):
    """A group of options."""


class Optimization(_Group):
    """Recording everything, to choose and tune tools by."""

    enabled: Annotated[bool, Meta(description="start in optimization mode")] = False
    trigger_threshold: Annotated[
        int,
        Meta(ge=1, le=1_000_000_000, description="calls after which a tool is worth optimising"),
    ] = 10_000
    cleanup_on_optimize: Annotated[
        bool, Meta(description="whether cleanup_perf_data() forgets history and statistics")
    ] = True


class Storage(_Group):
    """Where and how often history is written."""

    path: Annotated[
        str,
        Meta(min_length=1, description="directory; relative to where the session was founded"),
    ] = "perf_data"
    async_save: Annotated[
        bool, Meta(description="write in batches; false writes every batch as it is drained")
    ] = True
    batch_size: Annotated[
        int, Meta(ge=1, le=1_000_000, description="kept records that are worth a write")
    ] = 100
    flush_interval_seconds: Annotated[
        float, Meta(gt=0, le=86_400, description="longest time a kept record waits for its write")
    ] = 30
    max_bytes: Annotated[
        int,
        Meta(ge=1 << 20, description="what the files of tools with limit -1 may fill in sum"),
    ] = 10 << 30


class Rag(_Group):
    """Performance facts beside each tool in a RAG store."""

    enabled: Annotated[bool, Meta(description="keep performance facts in the tool store")] = True
    cluster_with_tool: Annotated[
        bool, Meta(description="keep them in the tool's own artifact")
    ] = True
    embedding_include: Annotated[
        bool, Meta(description="let them take part in what is embedded")
    ] = False


class Capture(_Group):
    """What is recorded of parameters."""

    secret_keys: Annotated[
        tuple[str, ...],
        Meta(description="parameters whose names contain one of these are shown as ***"),
    ] = _SECRETS


class Ring(_Group):
    """The workers' shared memory."""

    budget_bytes: Annotated[
        int,
        Meta(ge=1 << 18, le=1 << 30, description="shared memory that one worker may really use"),
    ] = 6 << 20
    first_slots: Annotated[
        int, Meta(ge=4, le=4096, description="records in a tool's first ring; a power of two")
    ] = 16

    def __post_init__(self) -> None:
        if self.first_slots & (self.first_slots - 1):
            raise ValueError("a power of two")


class Collector(_Group):
    """The process that drains."""

    idle_wait_ms: Annotated[
        int, Meta(ge=1, le=1000, description="longest pause between two looks while nothing comes")
    ] = 50
    sample_interval_seconds: Annotated[
        float, Meta(gt=0, le=3600, description="how often memory and CPU of workers are sampled")
    ] = 5


class Options(_Group):
    """The whole configuration."""

    default_perf_points: Annotated[
        Limit, Meta(description="records kept per tool; 0 = do not track, -1 = keep all")
    ] = 100
    tool_limits: Annotated[
        dict[str, Limit], Meta(description="the same for single tools, by name")
    ] = {}
    optimization: Optimization = Optimization()
    storage: Storage = Storage()
    rag: Rag = Rag()
    capture: Capture = Capture()
    ring: Ring = Ring()
    collector: Collector = Collector()

    def limit_of(self, tool: str) -> int:
        """Records kept of *tool*: 0 means it is not tracked, -1 that all are kept."""
        return self.tool_limits.get(tool, self.default_perf_points)
